
/*
 * Formats of streamed answers.
 */


#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "rtbus_llm.h"
#include "rtbus_json.h"


#define RTBUS_LLM_PATH     96       /* bytes of the longest path there is */
#define RTBUS_LLM_FOUND    32       /* values taken of an event */
#define RTBUS_LLM_RULES    12       /* of a format */
#define RTBUS_LLM_MEMBERS  64       /* of usage */


#define RTBUS_LLM_CANCELLED    "The answer was stopped"
#define RTBUS_LLM_INTERRUPTED  "The answer was interrupted"


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


typedef struct {
    const rtbus_llm_rule_t  *rule;
    rtbus_str_t              raw;
} rtbus_llm_found_t;


/* an event that is being read by yajl */

typedef struct {
    const rtbus_llm_row_t   *row;
    yajl_handle              parser;
    const uint8_t           *data;
    size_t                   end;      /* of the last token */
    char                     path[RTBUS_LLM_PATH];
    size_t                   len;      /* of the path */
    unsigned                 depth;
    unsigned                 deep;     /* levels that have no path */
    size_t                   lens[16]; /* of the path, at each level */
    int                      index[16];  /* -1: an object */
    rtbus_llm_found_t        found[RTBUS_LLM_FOUND];
    unsigned                 n;
    int                      open;     /* object that is being taken, or -1 */
    unsigned                 open_depth;
    rtbus_str_t              kind;
} rtbus_llm_scan_t;


static void rtbus_llm_scan(rtbus_llm_t *llm, rtbus_llm_scan_t *scan,
    const rtbus_str_t *data);
static int rtbus_llm_apply(rtbus_llm_t *llm, rtbus_llm_scan_t *scan,
    const rtbus_str_t *kind);
static int rtbus_llm_text(rtbus_llm_t *llm, const rtbus_str_t *raw);
static int rtbus_llm_add(rtbus_llm_t *llm, const uint8_t *p, size_t len);
static int rtbus_llm_count(rtbus_llm_t *llm, const char *name,
    const rtbus_str_t *raw);
static int rtbus_llm_merge(rtbus_llm_t *llm, const rtbus_str_t *raw);
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


static const rtbus_llm_row_t  rtbus_llm_rows[RTBUS_LLM_FORMATS] = {

    { NULL, { { RTBUS_LLM_NONE, NULL, NULL } } },      /* raw */

    { "type", {                                        /* ui */
        { RTBUS_LLM_TEXT, "text-delta", "delta" },
        { RTBUS_LLM_COUNTS, NULL, "messageMetadata.usage" },
        { RTBUS_LLM_COUNTS, NULL, "messageMetadata.totalUsage" },
        { RTBUS_LLM_END, "finish", NULL },
        { RTBUS_LLM_FAIL, "error", NULL },
        { RTBUS_LLM_FAIL, "abort", NULL } } },

    { NULL, {                                          /* openai */
        { RTBUS_LLM_TEXT, NULL, "choices.0.delta.content" },
        { RTBUS_LLM_TEXT, NULL, "choices.0.text" },
        { RTBUS_LLM_FIRST, NULL, "choices.0.index" },
        { RTBUS_LLM_COUNTS, NULL, "usage" },
        { RTBUS_LLM_SETTLED, NULL, "choices.0.finish_reason" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { "type", {                                        /* responses */
        { RTBUS_LLM_TEXT, "response.output_text.delta", "delta" },
        { RTBUS_LLM_COUNTS, NULL, "response.usage" },
        { RTBUS_LLM_END, "response.completed", NULL },
        { RTBUS_LLM_END, "response.incomplete", NULL },
        { RTBUS_LLM_FAIL, "response.failed", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { "type", {                                        /* anthropic */
        { RTBUS_LLM_TEXT, "content_block_delta", "delta.text" },
        { RTBUS_LLM_COUNTS, "message_start", "message.usage" },
        { RTBUS_LLM_COUNTS, "message_delta", "usage" },
        { RTBUS_LLM_END, "message_stop", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { NULL, {                                          /* gemini */
        { RTBUS_LLM_TEXT, NULL, "candidates.0.content.parts.*.text" },
        { RTBUS_LLM_COUNTS, NULL, "usageMetadata" },
        { RTBUS_LLM_END, NULL, "candidates.0.finishReason" },
        { RTBUS_LLM_END, NULL, "promptFeedback.blockReason" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { NULL, {                                          /* ollama */
        { RTBUS_LLM_TEXT, NULL, "message.content" },
        { RTBUS_LLM_TEXT, NULL, "response" },
        { RTBUS_LLM_COUNT, NULL, "total_duration" },
        { RTBUS_LLM_COUNT, NULL, "load_duration" },
        { RTBUS_LLM_COUNT, NULL, "prompt_eval_count" },
        { RTBUS_LLM_COUNT, NULL, "prompt_eval_duration" },
        { RTBUS_LLM_COUNT, NULL, "eval_count" },
        { RTBUS_LLM_COUNT, NULL, "eval_duration" },
        { RTBUS_LLM_END, NULL, "done" },
        { RTBUS_LLM_FAIL, NULL, "error" } } },

    { "type", {                                        /* agui */
        { RTBUS_LLM_TEXT, "TEXT_MESSAGE_CONTENT", "delta" },
        { RTBUS_LLM_TEXT, "TEXT_MESSAGE_CHUNK", "delta" },
        { RTBUS_LLM_END, "RUN_FINISHED", NULL },
        { RTBUS_LLM_FAIL, "RUN_ERROR", NULL } } },

    { NULL, {                                          /* langgraph */
        { RTBUS_LLM_TEXT, "messages", "0.content" },
        { RTBUS_LLM_COUNTS, "messages", "0.usage_metadata" },
        { RTBUS_LLM_END, "end", NULL },
        { RTBUS_LLM_FAIL, "error", NULL } } },

    { NULL, { { RTBUS_LLM_NONE, NULL, NULL } } }       /* auto */
};


const char *const  rtbus_llm_names[RTBUS_LLM_FORMATS] = {
    "raw", "ui", "openai", "responses", "anthropic", "gemini", "ollama",
    "agui", "langgraph", "auto"
};


const char *const  rtbus_job_statuses[RTBUS_JOB_STATUSES] = {
    "running", "completed", "cancelled", "interrupted", "failed"
};


/* of an answer that was cancelled, and of one that was interrupted */

static const char *const  rtbus_llm_tails[RTBUS_LLM_FORMATS][2] = {

    { NULL, NULL },                                    /* raw */

    { "data: {\"type\":\"abort\"}\n\n"                 /* ui */
      "data: [DONE]\n\n",
      "data: {\"type\":\"error\",\"errorText\":\"" RTBUS_LLM_INTERRUPTED
      "\"}\n\n"
      "data: [DONE]\n\n" },

    { "data: {\"error\":{\"message\":\"" RTBUS_LLM_CANCELLED  /* openai */
      "\",\"type\":\"cancelled\",\"param\":null,\"code\":\"cancelled\"}}\n\n",
      "data: {\"error\":{\"message\":\"" RTBUS_LLM_INTERRUPTED
      "\",\"type\":\"interrupted\",\"param\":null,"
      "\"code\":\"interrupted\"}}\n\n" },

    { "event: error\n"                                 /* responses */
      "data: {\"type\":\"error\",\"code\":\"cancelled\",\"message\":\""
      RTBUS_LLM_CANCELLED "\",\"param\":null}\n\n",
      "event: error\n"
      "data: {\"type\":\"error\",\"code\":\"interrupted\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\",\"param\":null}\n\n" },

    { "event: error\n"                                 /* anthropic */
      "data: {\"type\":\"error\",\"error\":{\"type\":\"cancelled\","
      "\"message\":\"" RTBUS_LLM_CANCELLED "\"}}\n\n",
      "event: error\n"
      "data: {\"type\":\"error\",\"error\":{\"type\":\"interrupted\","
      "\"message\":\"" RTBUS_LLM_INTERRUPTED "\"}}\n\n" },

    { NULL, NULL },                                    /* gemini */

    { "{\"error\":\"" RTBUS_LLM_CANCELLED "\"}\n",     /* ollama */
      "{\"error\":\"" RTBUS_LLM_INTERRUPTED "\"}\n" },

    { "data: {\"type\":\"RUN_ERROR\",\"message\":\""   /* agui */
      RTBUS_LLM_CANCELLED "\",\"code\":\"cancelled\"}\n\n",
      "data: {\"type\":\"RUN_ERROR\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\",\"code\":\"interrupted\"}\n\n" },

    { "event: error\n"                                 /* langgraph */
      "data: {\"error\":\"cancelled\",\"message\":\"" RTBUS_LLM_CANCELLED
      "\"}\n\n",
      "event: error\n"
      "data: {\"error\":\"interrupted\",\"message\":\""
      RTBUS_LLM_INTERRUPTED "\"}\n\n" },

    { NULL, NULL }                                     /* auto */
};


unsigned
rtbus_llm_name(const char *const *names, unsigned n, const uint8_t *p,
    size_t len)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], p, len) == 0) {
            break;
        }
    }

    return i;
}


size_t
rtbus_llm_tail(uint8_t *dst, unsigned format, unsigned status)
{
    size_t       len;
    const char  *tail;

    if (format >= RTBUS_LLM_FORMATS) {
        return 0;
    }

    tail = rtbus_llm_tails[format][status != RTBUS_JOB_CANCELLED];

    if (tail == NULL) {
        return 0;
    }

    len = strlen(tail);

    if (dst) {
        memcpy(dst, tail, len);
    }

    return len;
}


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
        rtbus_llm_scan(llm, &scan, data);
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
    if (llm->parser) {
        yajl_free(llm->parser);
    }

    free(llm->text.data);
    free(llm->usage.data);

    memset(llm, 0, sizeof(rtbus_llm_t));
}


/* what yajl does not like is no event that anything is known of */

static void
rtbus_llm_scan(rtbus_llm_t *llm, rtbus_llm_scan_t *scan,
    const rtbus_str_t *data)
{
    if (llm->parser == NULL) {
        llm->parser = yajl_alloc(&rtbus_llm_callbacks, NULL, llm);

        if (llm->parser == NULL) {
            return;
        }

        yajl_config(llm->parser, yajl_allow_multiple_values, 1);
        yajl_config(llm->parser, yajl_dont_validate_strings, 1);
    }

    scan->parser = llm->parser;
    scan->data = data->data;
    scan->end = 0;
    scan->len = 0;
    scan->depth = 0;
    scan->deep = 0;
    scan->open = -1;
    scan->open_depth = 0;

    llm->scan = scan;

    if (yajl_parse(llm->parser, data->data, data->len) != yajl_status_ok
        || yajl_parse(llm->parser, (const unsigned char *) "\n", 1)
           != yajl_status_ok
        || scan->depth)
    {
        yajl_free(llm->parser);
        llm->parser = NULL;
        scan->n = 0;
    }

    llm->scan = NULL;
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


/* does the path of the rule fit the present one */

static int
rtbus_llm_fits(const char *rule, const char *path, size_t len)
{
    const char  *last;

    last = path + len;

    while (*rule && path < last) {

        if (*rule == '*') {
            while (path < last && *path != '.') {
                path++;
            }

            rule++;
            continue;
        }

        if (*rule++ != *path++) {
            return 0;
        }
    }

    return *rule == '\0' && path == last;
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

    scan->len = scan->lens[scan->depth - 1];

    if (scan->len + len + 1 >= RTBUS_LLM_PATH) {
        return;
    }

    if (scan->len) {
        scan->path[scan->len++] = '.';
    }

    memcpy(scan->path + scan->len, buf + sizeof(buf) - len, len);
    scan->len += len;
}


static void
rtbus_llm_take(rtbus_llm_scan_t *scan, const rtbus_str_t *raw)
{
    const rtbus_llm_rule_t  *rule;

    if (scan->deep || scan->len == 0) {
        return;
    }

    if (scan->row->kind
        && rtbus_llm_fits(scan->row->kind, scan->path, scan->len))
    {
        scan->kind = *raw;
    }

    for (rule = scan->row->rules; rule->role != RTBUS_LLM_NONE; rule++) {

        if (rule->path == NULL || scan->n == RTBUS_LLM_FOUND
            || !rtbus_llm_fits(rule->path, scan->path, scan->len))
        {
            continue;
        }

        scan->found[scan->n].rule = rule;
        scan->found[scan->n].raw = *raw;
        scan->n++;
    }
}


static rtbus_llm_scan_t *
rtbus_llm_ctx(void *ctx)
{
    rtbus_llm_t  *llm = ctx;

    return llm->scan;
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

    if (scan->deep || scan->depth == 16) {
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

    scan->lens[scan->depth] = scan->len;
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

    scan->len = scan->lens[scan->depth - 1];

    if (scan->len + len + 1 >= RTBUS_LLM_PATH) {

        /* longer than any that is looked for */

        scan->path[scan->len++] = '\n';
        return 1;
    }

    if (scan->len) {
        scan->path[scan->len++] = '.';
    }

    memcpy(scan->path + scan->len, p, len);
    scan->len += len;

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
    scan->len = scan->lens[scan->depth];

    if (scan->open >= 0 && scan->open_depth == scan->depth) {
        raw = &scan->found[scan->open].raw;
        raw->len = (size_t) (scan->data + scan->end - raw->data);
        scan->open = -1;
    }

    return 1;
}


#define rtbus_llm_is(value, s)                                                \
    ((value).raw.len == sizeof(s) + 1                                         \
     && memcmp((value).raw.data, "\"" s "\"", sizeof(s) + 1) == 0)

#define rtbus_llm_begins(value, s)                                            \
    ((value).raw.len > sizeof(s)                                              \
     && memcmp((value).raw.data, "\"" s, sizeof(s)) == 0)


unsigned
rtbus_llm_detect(const rtbus_str_t *name, const rtbus_str_t *data, int json,
    int lines)
{
    rtbus_json_value_t   type;
    rtbus_json_member_t  m[] = { rtbus_json_member("type"),
                                 rtbus_json_member("object"),
                                 rtbus_json_member("choices"),
                                 rtbus_json_member("candidates"),
                                 rtbus_json_member("done"),
                                 rtbus_json_member("run_id"),
                                 rtbus_json_member("error"),
                                 rtbus_json_member("usageMetadata") };

    if (!json || data->len == 0) {
        return RTBUS_LLM_RAW;
    }

    if (data->data[0] != '{') {
        return RTBUS_LLM_RAW;
    }

    rtbus_json_members(data, m, sizeof(m) / sizeof(m[0]));

    if (lines) {
        return (m[4].value.type == RTBUS_JSON_BOOL) ? RTBUS_LLM_OLLAMA
                                                    : RTBUS_LLM_RAW;
    }

    if (m[2].value.type == RTBUS_JSON_ARRAY
        || rtbus_llm_begins(m[1].value, "chat.completion"))
    {
        return RTBUS_LLM_OPENAI;
    }

    if (m[3].value.type == RTBUS_JSON_ARRAY
        || m[7].value.type == RTBUS_JSON_OBJECT)
    {
        return RTBUS_LLM_GEMINI;
    }

    type = m[0].value;

    if (type.type == RTBUS_JSON_STRING) {

        if (rtbus_llm_is(type, "message_start")
            || (rtbus_llm_is(type, "error")
                && m[6].value.type == RTBUS_JSON_OBJECT))
        {
            return RTBUS_LLM_ANTHROPIC;
        }

        if (rtbus_llm_begins(type, "response.")) {
            return RTBUS_LLM_RESPONSES;
        }

        if (rtbus_llm_begins(type, "RUN_")
            || rtbus_llm_begins(type, "TEXT_MESSAGE_")
            || rtbus_llm_begins(type, "STATE_")
            || rtbus_llm_begins(type, "STEP_"))
        {
            return RTBUS_LLM_AGUI;
        }

        if (name->len == 0
            && (rtbus_llm_is(type, "start") || rtbus_llm_is(type, "start-step")
                || rtbus_llm_begins(type, "text-")
                || rtbus_llm_begins(type, "reasoning-")
                || rtbus_llm_begins(type, "tool-input-")
                || rtbus_llm_begins(type, "data-")
                || rtbus_llm_is(type, "error")))
        {
            return RTBUS_LLM_UI;
        }
    }

    if (name->len == 8 && memcmp(name->data, "metadata", 8) == 0
        && m[5].value.type == RTBUS_JSON_STRING)
    {
        return RTBUS_LLM_LANGGRAPH;
    }

    if (name->len == 0 && m[6].value.type == RTBUS_JSON_OBJECT) {
        return RTBUS_LLM_OPENAI;
    }

    return RTBUS_LLM_RAW;
}
