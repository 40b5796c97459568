
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


/* bytes of usage that are kept; more of it is not taken */
#define RTBUS_LLM_USAGE  4096


/* an answer that is being read; zeroed memory */

typedef struct {
    /* set by the caller, or RTBUS_LLM_AUTO: by the first event */

    unsigned        format;

    /* what is known so far */

    unsigned        ended:1;    /* the event that ends it has come */
    unsigned        settled:1;  /* it is complete if the transfer is */
    unsigned        failed:1;   /* it has said so itself */
    rtbus_str_t     usage;      /* JSON object; len 0: none */

    /* of the last event, valid until the next one */

    rtbus_str_t     text;       /* what the text has grown by */
    unsigned        counted:1;  /* usage has changed */

    /* private */

    void           *parser;
    void           *scan;       /* of the event, during the call */
    size_t          text_size;
    unsigned        half;       /* first one of a UTF-16 pair that was cut */
} rtbus_llm_t;


/*
 * Reads an event; data is JSON that was checked, if json is set, or any text.
 * RTBUS_OK or RTBUS_NOMEM.
 */

int rtbus_llm_event(rtbus_llm_t *llm, const rtbus_str_t *name,
    const rtbus_str_t *data, int json);

/* there are no more events: half a character may be left in text; likewise */

int rtbus_llm_end(rtbus_llm_t *llm);

void rtbus_llm_free(rtbus_llm_t *llm);

/* the format of an answer by its first event; lines: of JSON */

unsigned rtbus_llm_detect(const rtbus_str_t *name, const rtbus_str_t *data,
    int json, int lines);


#endif /* _RTBUS_LLM_H_INCLUDED_ */
