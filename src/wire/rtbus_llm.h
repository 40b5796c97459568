
/*
 * The formats of streamed answers of language models, each a row of a table:
 * where in an event is the text, where the usage, which event is the last one,
 * and how clients are told that an answer has come to no good end.
 *
 * Data of events is JSON, read by yajl's streaming parser; what is no JSON, such
 * as "[DONE]", is taken as it is.
 */


#ifndef _RTBUS_LLM_H_INCLUDED_
#define _RTBUS_LLM_H_INCLUDED_


#include "rtbus_wire.h"


typedef enum {
    RTBUS_LLM_RAW = 0,
    RTBUS_LLM_UI,
    RTBUS_LLM_OPENAI,
    RTBUS_LLM_RESPONSES,
    RTBUS_LLM_ANTHROPIC,
    RTBUS_LLM_GEMINI,
    RTBUS_LLM_OLLAMA,
    RTBUS_LLM_AGUI,
    RTBUS_LLM_LANGGRAPH,
    RTBUS_LLM_AUTO,             /* to be found out */
    RTBUS_LLM_FORMATS
} rtbus_llm_format_e;


/* what has become of a job; the names are the same in Redis and JSON */

typedef enum {
    RTBUS_JOB_RUNNING = 0,
    RTBUS_JOB_COMPLETED,
    RTBUS_JOB_CANCELLED,
    RTBUS_JOB_INTERRUPTED,
    RTBUS_JOB_FAILED,
    RTBUS_JOB_STATUSES
} rtbus_job_status_e;


extern const char *const  rtbus_llm_names[RTBUS_LLM_FORMATS];
extern const char *const  rtbus_job_statuses[RTBUS_JOB_STATUSES];

/* the number of a name, or n if it is none of them */

unsigned rtbus_llm_name(const char *const *names, unsigned n, const uint8_t *p,
    size_t len);

/*
 * What follows the events of an answer that was cancelled or interrupted, as
 * the clients of that format know it.  0: there is nothing of the kind, the
 * transfer has to be aborted.  Answers the length; with dst NULL only the length.
 */

size_t rtbus_llm_tail(uint8_t *dst, unsigned format, unsigned status);


#endif /* _RTBUS_LLM_H_INCLUDED_ */
