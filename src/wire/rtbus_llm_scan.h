
/*
 * The values of an event that the rules of a format ask for, by their paths:
 * yajl's streaming parser finds them, and they are taken as they stand.
 */


#ifndef _RTBUS_LLM_SCAN_H_INCLUDED_
#define _RTBUS_LLM_SCAN_H_INCLUDED_


#include "rtbus_llm_format.h"


#define RTBUS_LLM_DEPTH  16       /* levels that are looked into */
#define RTBUS_LLM_FOUND  32       /* values taken of an event */
#define RTBUS_LLM_KIND   RTBUS_LLM_RULES  /* number of the kind's path */


typedef struct {
    const rtbus_llm_rule_t  *rule;
    rtbus_str_t              raw;
} rtbus_llm_found_t;


/* an event that is being read */

typedef struct {
    const rtbus_llm_row_t   *row;
    void                    *parser;   /* of yajl */
    const uint8_t           *data;
    size_t                   end;      /* of the last token */
    unsigned                 depth;
    unsigned                 deep;     /* levels that are not looked into */
    int                      index[RTBUS_LLM_DEPTH];  /* -1: an object */

    /* rules by number, a bit each: those that fit what is around the values of
       a level, with the rest of their paths; and those that fit a value, which
       ends their path or goes on inside it */

    unsigned                 alive[RTBUS_LLM_DEPTH];
    const char              *at[RTBUS_LLM_DEPTH][RTBUS_LLM_RULES + 1];
    unsigned                 leaf;
    unsigned                 inner;

    rtbus_llm_found_t        found[RTBUS_LLM_FOUND];
    unsigned                 n;
    int                      open;     /* object that is being taken, or -1 */
    unsigned                 open_depth;
    rtbus_str_t              kind;
} rtbus_llm_scan_t;


/* zeroed memory; what reads one event after the other */

typedef struct {
    void                    *parser;   /* of yajl, or NULL */
    rtbus_llm_scan_t        *scan;     /* of the event, during the call */
} rtbus_llm_reader_t;


/*
 * Reads JSON; row is set, the rest of scan is what has been found.  What yajl
 * refuses has nothing in it.  Slices are of data.
 */

void rtbus_llm_scan(rtbus_llm_reader_t *reader, rtbus_llm_scan_t *scan,
    const rtbus_str_t *data);

void rtbus_llm_scan_free(rtbus_llm_reader_t *reader);


#endif /* _RTBUS_LLM_SCAN_H_INCLUDED_ */
