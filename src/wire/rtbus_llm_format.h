
/*
 * The formats of streamed answers of language models, each a row of a table:
 * where in an event the text is, where the usage, and which event is the last.
 * A new provider is a new row, a way to know its answers, and a tail.
 */


#ifndef _RTBUS_LLM_FORMAT_H_INCLUDED_
#define _RTBUS_LLM_FORMAT_H_INCLUDED_


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


/* the format of an answer by its first event; lines: of JSON */

unsigned rtbus_llm_detect(const rtbus_str_t *name, const rtbus_str_t *data,
    int json, int lines);

/*
 * What follows the events of an answer that was cancelled or interrupted, as
 * the clients of that format know it.  0: there is nothing of the kind, the
 * transfer has to be aborted.  Answers its length; dst may be NULL.
 */

size_t rtbus_llm_tail(uint8_t *dst, unsigned format, unsigned status);


/*
 * The table.
 */

#define RTBUS_LLM_RULES  12     /* of a format */


/* what a value, or an event of some kind, is for */

typedef enum {
    RTBUS_LLM_NONE = 0,
    RTBUS_LLM_TEXT,             /* the text goes on with it */
    RTBUS_LLM_FIRST,            /* text counts only if this is 0 */
    RTBUS_LLM_COUNTS,           /* an object: usage */
    RTBUS_LLM_COUNT,            /* a number: a member of usage */
    RTBUS_LLM_END,              /* it is the last one */
    RTBUS_LLM_SETTLED,          /* it may be the last one */
    RTBUS_LLM_FAIL
} rtbus_llm_role_e;


/*
 * kind: events of this kind only; NULL: all.  path: members and indices, "*" is
 * any index, where the value is; NULL: the event itself will do.
 */

typedef struct {
    rtbus_llm_role_e    role;
    const char         *kind;
    const char         *path;
} rtbus_llm_rule_t;


typedef struct {
    const char         *kind;   /* path of the kind; NULL: the event's name */
    rtbus_llm_rule_t    rules[RTBUS_LLM_RULES];
} rtbus_llm_row_t;


extern const rtbus_llm_row_t  rtbus_llm_rows[RTBUS_LLM_FORMATS];


#endif /* _RTBUS_LLM_FORMAT_H_INCLUDED_ */
