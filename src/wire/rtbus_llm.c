
#include <stdlib.h>
#include <string.h>

#include "rtbus_llm.h"
#include "rtbus_json.h"


#define RTBUS_LLM_MEMBERS  64       /* of usage */


static int rtbus_llm_apply(rtbus_llm_t *llm, rtbus_llm_scan_t *scan,
    const rtbus_str_t *kind);
static int rtbus_llm_text(rtbus_llm_t *llm, const rtbus_str_t *raw);
static int rtbus_llm_add(rtbus_llm_t *llm, const uint8_t *p, size_t len);
static int rtbus_llm_count(rtbus_llm_t *llm, const char *name,
    const rtbus_str_t *raw);
static int rtbus_llm_merge(rtbus_llm_t *llm, const rtbus_str_t *raw);


int
rtbus_llm_event(rtbus_llm_t *llm, const rtbus_str_t *name,
    const rtbus_str_t *data, int json)
{
    rtbus_str_t        kind;
    rtbus_llm_scan_t   scan;

    llm->text.len = 0;
    llm->counted = 0;

    if (llm->format == RTBUS_LLM_RAW || llm->format >= RTBUS_LLM_AUTO) {
        return RTBUS_OK;
    }

    if (llm->format == RTBUS_LLM_OPENAI && !json
        && data->len == 6 && memcmp(data->data, "[DONE]", 6) == 0)
    {
        llm->ended = 1;
        return RTBUS_OK;
    }

    /* of whatever format: the name alone says it */

    if (name->len == 5 && memcmp(name->data, "error", 5) == 0) {
        llm->failed = 1;
    }

    scan.row = &rtbus_llm_rows[llm->format];
    scan.n = 0;
    scan.kind.len = 0;

    if (json) {
        rtbus_llm_scan(&llm->reader, &scan, data);
    }

    kind = *name;

    if (scan.row->kind) {
        kind = scan.kind;

        if (kind.len >= 2) {
            kind.data++;
            kind.len -= 2;
        }
    }

    return rtbus_llm_apply(llm, &scan, &kind);
}


int
rtbus_llm_end(rtbus_llm_t *llm)
{
    llm->text.len = 0;

    if (!llm->half) {
        return RTBUS_OK;
    }

    llm->half = 0;

    return rtbus_llm_add(llm, (const uint8_t *) "\xef\xbf\xbd", 3);
}


void
rtbus_llm_free(rtbus_llm_t *llm)
{
    rtbus_llm_scan_free(&llm->reader);

    free(llm->text.data);
    free(llm->usage.data);

    memset(llm, 0, sizeof(rtbus_llm_t));
}


static int
rtbus_llm_apply(rtbus_llm_t *llm, rtbus_llm_scan_t *scan,
    const rtbus_str_t *kind)
{
    int                      rc;
    unsigned                 i, first;
    const rtbus_str_t       *raw;
    const rtbus_llm_rule_t  *rule;

    for (rule = scan->row->rules; rule->role != RTBUS_LLM_NONE; rule++) {

        if (rule->path || strlen(rule->kind) != kind->len
            || memcmp(rule->kind, kind->data, kind->len) != 0)
        {
            continue;
        }

        if (rule->role == RTBUS_LLM_FAIL) {
            llm->failed = 1;

        } else {
            llm->ended = 1;
        }
    }

    first = 1;

    for (i = 0; i < scan->n; i++) {
        if (scan->found[i].rule->role == RTBUS_LLM_FIRST) {
            raw = &scan->found[i].raw;
            first = (raw->len == 1 && raw->data[0] == '0');
        }
    }

    for (i = 0; i < scan->n; i++) {
        rule = scan->found[i].rule;
        raw = &scan->found[i].raw;

        if (rule->kind
            && (strlen(rule->kind) != kind->len
                || memcmp(rule->kind, kind->data, kind->len) != 0))
        {
            continue;
        }

        rc = RTBUS_OK;

        switch (rule->role) {

        case RTBUS_LLM_TEXT:
            if (first && raw->data[0] == '"') {
                rc = rtbus_llm_text(llm, raw);
            }

            break;

        case RTBUS_LLM_COUNTS:
            if (raw->data[0] == '{') {
                rc = rtbus_llm_merge(llm, raw);
            }

            break;

        case RTBUS_LLM_COUNT:
            rc = rtbus_llm_count(llm, rule->path, raw);
            break;

        case RTBUS_LLM_END:
            llm->ended |= (raw->data[0] != 'f');
            break;

        case RTBUS_LLM_SETTLED:
            llm->settled = 1;
            break;

        case RTBUS_LLM_FAIL:
            llm->failed = 1;
            break;

        default: /* RTBUS_LLM_FIRST */
            break;
        }

        if (rc != RTBUS_OK) {
            return rc;
        }
    }

    return RTBUS_OK;
}


/* the code unit of an escape "\\uXXXX", or 0 */

static unsigned
rtbus_llm_unit(const uint8_t *p, const uint8_t *last)
{
    unsigned  i, c, unit;

    if (last - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return 0;
    }

    unit = 0;

    for (i = 2; i < 6; i++) {
        c = p[i];

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else {
            c = (c | 0x20) - 'a' + 10;
        }

        unit = unit * 16 + c;
    }

    return unit;
}


/*
 * Those who count in UTF-16 cut an emoji in two: its first half waits for the
 * second one, which begins the next piece of text.
 */

static int
rtbus_llm_text(rtbus_llm_t *llm, const rtbus_str_t *raw)
{
    int             rc;
    size_t          n;
    uint8_t         buf[4];
    unsigned        unit, code;
    rtbus_str_t     rest;
    const uint8_t  *p, *last, *q;

    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    if (p == last) {
        return RTBUS_OK;
    }

    if (llm->half) {
        unit = rtbus_llm_unit(p, last);

        if (unit >= 0xdc00 && unit <= 0xdfff) {
            code = 0x10000 + ((llm->half - 0xd800) << 10) + (unit - 0xdc00);

            buf[0] = (uint8_t) (0xf0 | (code >> 18));
            buf[1] = (uint8_t) (0x80 | ((code >> 12) & 0x3f));
            buf[2] = (uint8_t) (0x80 | ((code >> 6) & 0x3f));
            buf[3] = (uint8_t) (0x80 | (code & 0x3f));

            llm->half = 0;
            p += 6;

            rc = rtbus_llm_add(llm, buf, 4);

        } else {
            llm->half = 0;
            rc = rtbus_llm_add(llm, (const uint8_t *) "\xef\xbf\xbd", 3);
        }

        if (rc != RTBUS_OK) {
            return rc;
        }
    }

    if (last - p >= 6) {
        unit = rtbus_llm_unit(last - 6, last);

        if (unit >= 0xd800 && unit <= 0xdbff) {

            /* a slash before it may make of it what it looks like */

            for (q = last - 6; q > p && q[-1] == '\\'; q--) { /* void */ }

            if (((last - 6) - q) % 2 == 0) {
                llm->half = unit;
                last -= 6;
            }
        }
    }

    if (p == last) {
        return RTBUS_OK;
    }

    rest.data = (uint8_t *) p - 1;
    rest.len = (size_t) (last - p) + 2;

    n = rtbus_json_unquote(NULL, &rest);

    rc = rtbus_llm_add(llm, NULL, n);
    if (rc != RTBUS_OK) {
        return rc;
    }

    rtbus_json_unquote(llm->text.data + llm->text.len, &rest);
    llm->text.len += n;

    return RTBUS_OK;
}


/* p NULL: only room for them */

static int
rtbus_llm_add(rtbus_llm_t *llm, const uint8_t *p, size_t len)
{
    size_t    size;
    uint8_t  *data;

    if (llm->text.len + len > llm->text_size) {
        size = 2 * (llm->text.len + len) + 256;

        data = realloc(llm->text.data, size);
        if (data == NULL) {
            return RTBUS_NOMEM;
        }

        llm->text.data = data;
        llm->text_size = size;
    }

    if (p && len) {
        memcpy(llm->text.data + llm->text.len, p, len);
        llm->text.len += len;
    }

    return RTBUS_OK;
}


static int
rtbus_llm_count(rtbus_llm_t *llm, const char *name, const rtbus_str_t *raw)
{
    int           n;
    rtbus_str_t   object;
    char          buf[128];

    if (raw->len > 64 || raw->data[0] == '"' || raw->data[0] == '{') {
        return RTBUS_OK;
    }

    n = 0;
    buf[n++] = '{';
    buf[n++] = '"';
    memcpy(buf + n, name, strlen(name));
    n += (int) strlen(name);
    buf[n++] = '"';
    buf[n++] = ':';
    memcpy(buf + n, raw->data, raw->len);
    n += (int) raw->len;
    buf[n++] = '}';

    object.data = (uint8_t *) buf;
    object.len = (size_t) n;

    return rtbus_llm_merge(llm, &object);
}


/* members of both objects; of those with the same name the later one */

static int
rtbus_llm_merge(rtbus_llm_t *llm, const rtbus_str_t *raw)
{
    size_t               n, i, j;
    uint8_t             *data, *p;
    const uint8_t       *pos;
    const rtbus_str_t   *from;
    rtbus_json_value_t   name, value;
    rtbus_str_t          members[RTBUS_LLM_MEMBERS][2];

    if (raw->len + llm->usage.len > RTBUS_LLM_USAGE) {
        return RTBUS_OK;
    }

    n = 0;

    for (i = 0; i < 2; i++) {
        from = (i == 0) ? &llm->usage : raw;
        pos = NULL;

        while (from->len && rtbus_json_next(&name, &pos, from) == RTBUS_OK
               && rtbus_json_next(&value, &pos, from) == RTBUS_OK)
        {
            for (j = 0; j < n; j++) {
                if (members[j][0].len == name.raw.len
                    && memcmp(members[j][0].data, name.raw.data, name.raw.len)
                       == 0)
                {
                    break;
                }
            }

            if (j == RTBUS_LLM_MEMBERS) {
                break;
            }

            members[j][0] = name.raw;
            members[j][1] = value.raw;

            if (j == n) {
                n++;
            }
        }
    }

    data = malloc(raw->len + llm->usage.len + 2);
    if (data == NULL) {
        return RTBUS_NOMEM;
    }

    p = data;
    *p++ = '{';

    for (j = 0; j < n; j++) {
        if (j) {
            *p++ = ',';
        }

        memcpy(p, members[j][0].data, members[j][0].len);
        p += members[j][0].len;
        *p++ = ':';
        memcpy(p, members[j][1].data, members[j][1].len);
        p += members[j][1].len;
    }

    *p++ = '}';

    free(llm->usage.data);

    llm->usage.data = data;
    llm->usage.len = (size_t) (p - data);
    llm->counted = 1;

    return RTBUS_OK;
}
