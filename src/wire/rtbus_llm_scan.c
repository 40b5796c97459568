
#include <string.h>

#include <yajl/yajl_parse.h>

#include "rtbus_llm_scan.h"


static int rtbus_llm_value(void *ctx);
static int rtbus_llm_boolean(void *ctx, int value);
static int rtbus_llm_string(void *ctx, const unsigned char *p, size_t len);
static int rtbus_llm_number(void *ctx, const char *p, size_t len);
static int rtbus_llm_start_map(void *ctx);
static int rtbus_llm_start_array(void *ctx);
static int rtbus_llm_key(void *ctx, const unsigned char *p, size_t len);
static int rtbus_llm_close(void *ctx);


static const yajl_callbacks  rtbus_llm_callbacks = {
    rtbus_llm_value,
    rtbus_llm_boolean,
    NULL,
    NULL,
    rtbus_llm_number,
    rtbus_llm_string,
    rtbus_llm_start_map,
    rtbus_llm_key,
    rtbus_llm_close,
    rtbus_llm_start_array,
    rtbus_llm_close
};


void
rtbus_llm_scan(rtbus_llm_reader_t *reader, rtbus_llm_scan_t *scan,
    const rtbus_str_t *data)
{
    unsigned                 i;
    yajl_handle              parser;
    const rtbus_llm_rule_t  *rule;

    scan->n = 0;
    scan->kind.len = 0;

    if (reader->parser == NULL) {
        parser = yajl_alloc(&rtbus_llm_callbacks, NULL, reader);

        if (parser == NULL) {
            return;
        }

        yajl_config(parser, yajl_allow_multiple_values, 1);
        yajl_config(parser, yajl_dont_validate_strings, 1);

        reader->parser = parser;
    }

    parser = reader->parser;

    scan->parser = parser;
    scan->data = data->data;
    scan->end = 0;
    scan->inner = 0;
    scan->leaf = 0;
    scan->depth = 0;
    scan->deep = 0;
    scan->open = -1;
    scan->open_depth = 0;

    for (i = 0, rule = scan->row->rules; rule->role != RTBUS_LLM_NONE;
         i++, rule++)
    {
        if (rule->path) {
            scan->at[0][i] = rule->path;
            scan->inner |= 1u << i;
        }
    }

    if (scan->row->kind) {
        scan->at[0][RTBUS_LLM_KIND] = scan->row->kind;
        scan->inner |= 1u << RTBUS_LLM_KIND;
    }

    reader->scan = scan;

    if (yajl_parse(parser, data->data, data->len) != yajl_status_ok
        || yajl_parse(parser, (const unsigned char *) "\n", 1)
           != yajl_status_ok
        || scan->depth)
    {
        rtbus_llm_scan_free(reader);
        scan->n = 0;
    }

    reader->scan = NULL;
}


void
rtbus_llm_scan_free(rtbus_llm_reader_t *reader)
{
    if (reader->parser) {
        yajl_free(reader->parser);
        reader->parser = NULL;
    }
}


/* of the rules that the outer names fit, those whose next name is this one */

static void
rtbus_llm_enter(rtbus_llm_scan_t *scan, const char *name, size_t len)
{
    unsigned       i, left, level;
    const char    *p;

    level = scan->depth - 1;

    scan->inner = 0;
    scan->leaf = 0;

    for (i = 0, left = scan->alive[level]; left; i++, left >>= 1) {

        if (!(left & 1)) {
            continue;
        }

        p = scan->at[level][i];

        if (*p == '*') {
            p++;

        } else if (len && *p == *name && strncmp(p, name, len) == 0) {
            p += len;

        } else {
            continue;
        }

        if (*p == '\0') {
            scan->leaf |= 1u << i;

        } else if (*p == '.' && level + 1 < RTBUS_LLM_DEPTH) {
            scan->at[level + 1][i] = p + 1;
            scan->inner |= 1u << i;
        }
    }
}


/*
 * A value begins behind the token before it; its bytes are taken as they stand,
 * since yajl makes no more of halves of characters than question marks.
 */

static rtbus_str_t
rtbus_llm_token(rtbus_llm_scan_t *scan)
{
    size_t       from, end;
    rtbus_str_t  raw;

    end = yajl_get_bytes_consumed(scan->parser);

    for (from = scan->end; from < end; from++) {
        switch (scan->data[from]) {

        case ' ':
        case '\t':
        case '\r':
        case '\n':
        case ',':
        case ':':
            continue;
        }

        break;
    }

    scan->end = end;

    raw.data = (uint8_t *) scan->data + from;
    raw.len = end - from;

    return raw;
}


/* in an array: the next element */

static void
rtbus_llm_step(rtbus_llm_scan_t *scan)
{
    int     n;
    char    buf[12];
    size_t  len;

    if (scan->deep || scan->depth == 0 || scan->index[scan->depth - 1] < 0) {
        return;
    }

    n = scan->index[scan->depth - 1]++;
    len = 0;

    do {
        buf[sizeof(buf) - ++len] = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    rtbus_llm_enter(scan, buf + sizeof(buf) - len, len);
}


static void
rtbus_llm_take(rtbus_llm_scan_t *scan, const rtbus_str_t *raw)
{
    unsigned  i, left;

    if (scan->deep) {
        return;
    }

    for (i = 0, left = scan->leaf; left; i++, left >>= 1) {

        if (!(left & 1)) {
            continue;
        }

        if (i == RTBUS_LLM_KIND) {
            scan->kind = *raw;

        } else if (scan->n < RTBUS_LLM_FOUND) {
            scan->found[scan->n].rule = &scan->row->rules[i];
            scan->found[scan->n].raw = *raw;
            scan->n++;
        }
    }
}


static rtbus_llm_scan_t *
rtbus_llm_ctx(void *ctx)
{
    rtbus_llm_reader_t  *reader = ctx;

    return reader->scan;
}


/* null is as good as nothing */

static int
rtbus_llm_value(void *ctx)
{
    rtbus_llm_scan_t  *scan = rtbus_llm_ctx(ctx);

    rtbus_llm_step(scan);
    (void) rtbus_llm_token(scan);

    return 1;
}


static int
rtbus_llm_scalar(void *ctx)
{
    rtbus_str_t        raw;
    rtbus_llm_scan_t  *scan = rtbus_llm_ctx(ctx);

    rtbus_llm_step(scan);

    raw = rtbus_llm_token(scan);

    if (raw.len) {
        rtbus_llm_take(scan, &raw);
    }

    return 1;
}


static int
rtbus_llm_boolean(void *ctx, int value)
{
    (void) value;

    return rtbus_llm_scalar(ctx);
}


static int
rtbus_llm_string(void *ctx, const unsigned char *p, size_t len)
{
    (void) p;
    (void) len;

    return rtbus_llm_scalar(ctx);
}


static int
rtbus_llm_number(void *ctx, const char *p, size_t len)
{
    (void) p;
    (void) len;

    return rtbus_llm_scalar(ctx);
}


static int
rtbus_llm_open(void *ctx, int index)
{
    unsigned           n;
    rtbus_str_t        raw;
    rtbus_llm_scan_t  *scan = rtbus_llm_ctx(ctx);

    rtbus_llm_step(scan);

    raw = rtbus_llm_token(scan);

    if (scan->deep || scan->depth == RTBUS_LLM_DEPTH) {
        scan->deep++;
        return 1;
    }

    n = scan->n;

    if (scan->open < 0) {
        rtbus_llm_take(scan, &raw);

        if (scan->n > n) {
            scan->open = (int) n;
            scan->open_depth = scan->depth;
        }
    }

    scan->alive[scan->depth] = scan->inner;
    scan->index[scan->depth] = index;
    scan->depth++;

    return 1;
}


static int
rtbus_llm_start_map(void *ctx)
{
    return rtbus_llm_open(ctx, -1);
}


static int
rtbus_llm_start_array(void *ctx)
{
    return rtbus_llm_open(ctx, 0);
}


static int
rtbus_llm_key(void *ctx, const unsigned char *p, size_t len)
{
    rtbus_llm_scan_t  *scan = rtbus_llm_ctx(ctx);

    (void) rtbus_llm_token(scan);

    if (scan->deep) {
        return 1;
    }

    rtbus_llm_enter(scan, (const char *) p, len);

    return 1;
}


static int
rtbus_llm_close(void *ctx)
{
    rtbus_str_t       *raw;
    rtbus_llm_scan_t  *scan = rtbus_llm_ctx(ctx);

    (void) rtbus_llm_token(scan);

    if (scan->deep) {
        scan->deep--;
        return 1;
    }

    scan->depth--;

    if (scan->open >= 0 && scan->open_depth == scan->depth) {
        raw = &scan->found[scan->open].raw;
        raw->len = (size_t) (scan->data + scan->end - raw->data);
        scan->open = -1;
    }

    return 1;
}
