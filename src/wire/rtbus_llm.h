
/*
 * The streamed answer of a language model, read event by event: its text, its
 * usage, and whether it is complete, as its format has it.
 *
 * Data of events is JSON; what is not, such as "[DONE]", is taken as it is.
 */


#ifndef _RTBUS_LLM_H_INCLUDED_
#define _RTBUS_LLM_H_INCLUDED_


#include "rtbus_llm_scan.h"


/* bytes of usage that are kept; more of it is not taken */
#define RTBUS_LLM_USAGE  4096


/* an answer that is being read; zeroed memory */

typedef struct {
    /* set by the caller, or RTBUS_LLM_AUTO: by the first event */

    unsigned            format;

    /* what is known so far */

    unsigned            ended:1;    /* the event that ends it has come */
    unsigned            settled:1;  /* it is complete if the transfer is */
    unsigned            failed:1;   /* it has said so itself */
    rtbus_str_t         usage;      /* JSON object; len 0: none */

    /* of the last event, valid until the next one */

    rtbus_str_t         text;       /* what the text has grown by */
    unsigned            counted:1;  /* usage has changed */

    /* private */

    rtbus_llm_reader_t  reader;
    size_t              text_size;
    unsigned            half;       /* first one of a cut UTF-16 pair */
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


#endif /* _RTBUS_LLM_H_INCLUDED_ */
