
/*
 * yajl as the judge of rtbus_json: is it JSON, and if not, why?
 *
 * yajl 2.1 has views of its own on some texts, and is kept from them:
 *
 *   - it takes overlong forms and surrogates for UTF-8: the text is checked
 *     before it, and yajl's own check is off;
 *   - it takes vertical tab and form feed for white space: it is given another
 *     control character in their place;
 *   - at the end of the input it forgets a string that is still open behind
 *     a whole value: a line feed is put after the text, which no string holds;
 *   - its decoder of escapes can be led by a lone surrogate beyond the text
 *     (CVE-2017-16516): without callbacks for strings it never runs.
 *
 * It has no limit on the depth: a callback stops it.
 */


#ifndef _RTBUS_JSON_YAJL_H_INCLUDED_
#define _RTBUS_JSON_YAJL_H_INCLUDED_


#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "utf8_plain.h"


typedef struct {
    unsigned    depth;
    unsigned    level;
} judge_t;


static int
judge_start(void *ctx)
{
    judge_t  *judge = ctx;

    return ++judge->level <= judge->depth;
}


static int
judge_end(void *ctx)
{
    judge_t  *judge = ctx;

    judge->level--;

    return 1;
}


static const yajl_callbacks  judge_callbacks = {
    NULL, NULL, NULL, NULL, NULL, NULL,
    judge_start,                           /* yajl_start_map */
    NULL,
    judge_end,                             /* yajl_end_map */
    judge_start,                           /* yajl_start_array */
    judge_end                              /* yajl_end_array */
};


/*
 * NULL, "not JSON" or "nested too deep".  Of a text that is not whole it is
 * asked only if it can go on from there.
 */

static const char *
judge_yajl(const uint8_t *p, size_t len, unsigned depth, int whole)
{
    size_t        i;
    uint8_t      *text;
    judge_t       judge;
    yajl_handle   yajl;
    yajl_status   status;

    judge.depth = depth;
    judge.level = 0;

    text = malloc(len + 1);
    yajl = yajl_alloc(&judge_callbacks, NULL, &judge);

    if (text == NULL || yajl == NULL) {
        abort();
    }

    (void) yajl_config(yajl, yajl_dont_validate_strings, 1);

    for (i = 0; i < len; i++) {
        text[i] = (p[i] == '\v' || p[i] == '\f') ? 0x01 : p[i];
    }

    status = yajl_parse(yajl, text, len);

    if (status == yajl_status_ok && whole) {
        status = yajl_parse(yajl, (const unsigned char *) "\n", 1);
    }

    if (status == yajl_status_ok && whole) {
        status = yajl_complete_parse(yajl);
    }

    yajl_free(yajl);
    free(text);

    switch (status) {

    case yajl_status_ok:
        return NULL;

    case yajl_status_client_canceled:
        return "nested too deep";

    default:
        return "not JSON";
    }
}


static int
judge_is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}


/* the text without white space around it */

static const uint8_t *
judge_trim(const uint8_t *p, size_t *len)
{
    while (*len && judge_is_space(*p)) {
        p++;
        (*len)--;
    }

    while (*len && judge_is_space(p[*len - 1])) {
        (*len)--;
    }

    return p;
}


/* NULL, or the reason that rtbus_json gives, "bad UTF-8" before all others */

static const char *
judge_reason(const uint8_t *p, size_t len, unsigned depth)
{
    p = judge_trim(p, &len);

    if (plain_check(p, len) != PLAIN_WHOLE) {
        return "bad UTF-8";
    }

    return judge_yajl(p, len, depth, 1);
}


/*
 * Is that where the text ceased to be JSON?  Up to there it can become JSON,
 * and not with the byte that stands there, whatever comes then.  It is unknown
 * where bytes are not UTF-8, or there are none but white space.
 */

static int
judge_failed(const uint8_t *p, size_t len, unsigned depth,
    const uint8_t *failed, const char *reason)
{
    int          rc;
    uint8_t     *text;
    const char  *got;

    p = judge_trim(p, &len);

    if (len == 0 || strcmp(reason, "bad UTF-8") == 0) {
        return failed == NULL;
    }

    if (failed == NULL || failed < p || failed > p + len
        || judge_yajl(p, failed - p, depth, 0) != NULL)
    {
        return 0;
    }

    if (failed == p + len) {
        return 1;
    }

    len = failed - p + 1;
    text = malloc(len + 1);

    if (text == NULL) {
        abort();
    }

    memcpy(text, p, len);
    text[len] = '\n';

    got = judge_yajl(text, len + 1, depth, 0);
    rc = (got != NULL && strcmp(got, reason) == 0);

    free(text);

    return rc;
}


#endif /* _RTBUS_JSON_YAJL_H_INCLUDED_ */
