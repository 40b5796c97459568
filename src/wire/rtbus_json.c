
/*
 * JSON texts: checked as a whole, then cut.
 *
 * yajl checks the grammar and calls back for the depth only.  With the text
 * known to be good, the members and elements are found by a plain walk:
 * strings end at their quote, containers where brackets balance.
 *
 * yajl 2.1 is kept away from what it does not do well:
 *
 *   - it takes overlong forms and surrogates for UTF-8: rtbus_utf8 checks
 *     the text first, and yajl's own check is off;
 *   - it takes vertical tab and form feed for white space: no JSON text holds
 *     them, neither between tokens nor in strings;
 *   - at the end of the input it forgets a string that is still open behind
 *     a whole value: a line feed is put after the text, which no string holds;
 *   - its decoder of escapes can be led by a lone surrogate to an assertion
 *     and beyond the text (CVE-2017-16516 where it is not patched): without
 *     string callbacks it never runs;
 *   - it does not survive a failed allocation: ours never returns NULL, it
 *     jumps back to where RTBUS_NOMEM is answered.
 */


#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "rtbus_json.h"
#include "rtbus_utf8.h"


/* yajl has at most 7 blocks: the handle, the lexer, two buffers, the stack */

#define RTBUS_JSON_BLOCKS  8


struct rtbus_json_s {
    yajl_handle         yajl;
    yajl_alloc_funcs    funcs;
    unsigned            depth;
    unsigned            level;
    const uint8_t      *failed;
    jmp_buf             nomem;
    void               *blocks[RTBUS_JSON_BLOCKS];
};


static int rtbus_json_check(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *value, const char **reason);
static int rtbus_json_check_text(rtbus_json_t *json, const rtbus_str_t *text,
    const char **reason);
static void rtbus_json_open(rtbus_json_t *json);
static void rtbus_json_close(rtbus_json_t *json);
static int rtbus_json_start(void *ctx);
static int rtbus_json_end(void *ctx);
static void *rtbus_json_malloc(void *ctx, size_t size);
static void *rtbus_json_realloc(void *ctx, void *p, size_t size);
static void rtbus_json_free(void *ctx, void *p);
static const uint8_t *rtbus_json_cut(rtbus_json_value_t *value,
    const uint8_t *p, const uint8_t *last);
static const uint8_t *rtbus_json_skip_space(const uint8_t *p);
static const uint8_t *rtbus_json_skip_string(const uint8_t *p,
    const uint8_t *last);
static const uint8_t *rtbus_json_skip_container(const uint8_t *p,
    const uint8_t *last);
static int rtbus_json_key_is(const rtbus_str_t *raw, const char *name,
    size_t len);
static size_t rtbus_json_unescape(uint8_t *dst, const uint8_t **pos,
    const uint8_t *last);
static uint32_t rtbus_json_hex4(const uint8_t *p);
static size_t rtbus_json_encode(uint8_t *dst, uint32_t c);
static size_t rtbus_json_character(const uint8_t *p, const uint8_t *last);


static const yajl_callbacks  rtbus_json_callbacks = {
    NULL,                                  /* yajl_null */
    NULL,                                  /* yajl_boolean */
    NULL,                                  /* yajl_integer */
    NULL,                                  /* yajl_double */
    NULL,                                  /* yajl_number */
    NULL,                                  /* yajl_string */
    rtbus_json_start,                      /* yajl_start_map */
    NULL,                                  /* yajl_map_key */
    rtbus_json_end,                        /* yajl_end_map */
    rtbus_json_start,                      /* yajl_start_array */
    rtbus_json_end                         /* yajl_end_array */
};


static const uint8_t  rtbus_json_replacement[] = { 0xef, 0xbf, 0xbd };


rtbus_json_t *
rtbus_json_create(unsigned depth)
{
    rtbus_json_t  *json;

    json = calloc(1, sizeof(rtbus_json_t));
    if (json == NULL) {
        return NULL;
    }

    json->depth = depth;

    json->funcs.malloc = rtbus_json_malloc;
    json->funcs.realloc = rtbus_json_realloc;
    json->funcs.free = rtbus_json_free;
    json->funcs.ctx = json;

    return json;
}


void
rtbus_json_destroy(rtbus_json_t *json)
{
    if (json == NULL) {
        return;
    }

    rtbus_json_close(json);
    free(json);
}


int
rtbus_json_value(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *value, const char **reason)
{
    return rtbus_json_check(json, p, len, value, reason);
}


int
rtbus_json_object(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_member_t *members, size_t nmembers, const char **reason)
{
    int                 rc;
    rtbus_json_value_t  value;

    rc = rtbus_json_check(json, p, len, &value, reason);
    if (rc != RTBUS_OK) {
        return rc;
    }

    if (value.type != RTBUS_JSON_OBJECT) {
        *reason = "not an object";
        return RTBUS_ERROR;
    }

    rtbus_json_members(&value.raw, members, nmembers);

    return RTBUS_OK;
}


int
rtbus_json_array(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *values, size_t *n, const char **reason)
{
    int                  rc;
    size_t               count;
    const uint8_t       *pos;
    rtbus_json_value_t   array, value;

    rc = rtbus_json_check(json, p, len, &array, reason);
    if (rc != RTBUS_OK) {
        return rc;
    }

    if (array.type != RTBUS_JSON_ARRAY) {
        *reason = "not an array";
        return RTBUS_ERROR;
    }

    count = 0;
    pos = NULL;

    while (rtbus_json_next(&value, &pos, &array.raw) == RTBUS_OK) {

        if (count < *n) {
            values[count] = value;
        }

        count++;
    }

    *n = count;

    return RTBUS_OK;
}


const uint8_t *
rtbus_json_failed(const rtbus_json_t *json)
{
    return json->failed;
}


rtbus_json_type_e
rtbus_json_type(uint8_t c)
{
    switch (c) {

    case '{':
        return RTBUS_JSON_OBJECT;

    case '[':
        return RTBUS_JSON_ARRAY;

    case '"':
        return RTBUS_JSON_STRING;

    case 'n':
        return RTBUS_JSON_NULL;

    case 't':
    case 'f':
        return RTBUS_JSON_BOOL;

    default:
        return RTBUS_JSON_NUMBER;
    }
}


void
rtbus_json_members(const rtbus_str_t *raw, rtbus_json_member_t *members,
    size_t nmembers)
{
    int                  escaped, match;
    size_t               i;
    const uint8_t       *p, *last;
    rtbus_json_value_t   key, value;

    for (i = 0; i < nmembers; i++) {
        members[i].value.raw.len = 0;
        members[i].value.raw.data = NULL;
        members[i].value.type = RTBUS_JSON_NONE;
    }

    /* white space is never the last byte: the walk is stopped by the brace */

    last = raw->data + raw->len - 1;
    p = rtbus_json_skip_space(raw->data + 1);

    while (p < last) {

        p = rtbus_json_cut(&key, p, last);

        p = rtbus_json_skip_space(p);
        p = rtbus_json_skip_space(p + 1);          /* the colon */

        p = rtbus_json_cut(&value, p, last);

        escaped = (memchr(key.raw.data, '\\', key.raw.len) != NULL);

        for (i = 0; i < nmembers; i++) {

            if (escaped) {
                match = rtbus_json_key_is(&key.raw, members[i].name,
                                          members[i].len);

            } else {
                match = (key.raw.len - 2 == members[i].len
                         && memcmp(key.raw.data + 1, members[i].name,
                                   members[i].len) == 0);
            }

            if (match) {
                members[i].value = value;
            }
        }

        p = rtbus_json_skip_space(p);

        if (p < last) {
            p = rtbus_json_skip_space(p + 1);      /* the comma */
        }
    }
}


int
rtbus_json_next(rtbus_json_value_t *value, const uint8_t **pos,
    const rtbus_str_t *raw)
{
    const uint8_t  *p, *last;

    last = raw->data + raw->len - 1;

    p = (*pos == NULL) ? raw->data + 1 : *pos;
    p = rtbus_json_skip_space(p);

    if (p == last) {
        *pos = last;
        return RTBUS_AGAIN;
    }

    p = rtbus_json_cut(value, p, last);
    p = rtbus_json_skip_space(p);

    *pos = (p < last) ? p + 1 : last;              /* the comma */

    return RTBUS_OK;
}


size_t
rtbus_json_unquote(uint8_t *dst, const rtbus_str_t *raw)
{
    size_t          n, len;
    uint8_t         buf[4];
    const uint8_t  *p, *last, *slash;

    n = 0;
    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    while (p < last) {

        slash = memchr(p, '\\', last - p);
        len = (slash ? slash : last) - p;

        if (dst && len) {
            memcpy(dst + n, p, len);
        }

        n += len;
        p += len;

        if (p == last) {
            break;
        }

        len = rtbus_json_unescape(buf, &p, last);

        if (dst) {
            memcpy(dst + n, buf, len);
        }

        n += len;
    }

    return n;
}


size_t
rtbus_json_quote(uint8_t *dst, const uint8_t *p, size_t len)
{
    size_t          n, size;
    uint8_t         buf[6];
    const uint8_t  *last, *start, *src;

    static const uint8_t  hex[] = "0123456789abcdef";

    if (dst) {
        dst[0] = '"';
    }

    n = 1;
    last = len ? p + len : p;

    while (p < last) {

        start = p;

        while (p < last) {

            if (*p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') {
                p++;
                continue;
            }

            size = rtbus_json_character(p, last);
            if (size == 0) {
                break;
            }

            p += size;
        }

        size = p - start;

        if (dst && size) {
            memcpy(dst + n, start, size);
        }

        n += size;

        if (p == last) {
            break;
        }

        src = buf;
        size = 2;
        buf[0] = '\\';

        switch (*p) {

        case '"':
        case '\\':
            buf[1] = *p;
            break;

        case '\b':
            buf[1] = 'b';
            break;

        case '\t':
            buf[1] = 't';
            break;

        case '\n':
            buf[1] = 'n';
            break;

        case '\f':
            buf[1] = 'f';
            break;

        case '\r':
            buf[1] = 'r';
            break;

        default:
            if (*p >= 0x80) {
                src = rtbus_json_replacement;
                size = sizeof(rtbus_json_replacement);
                break;
            }

            buf[1] = 'u';
            buf[2] = '0';
            buf[3] = '0';
            buf[4] = hex[*p >> 4];
            buf[5] = hex[*p & 0xf];
            size = 6;
        }

        if (dst) {
            memcpy(dst + n, src, size);
        }

        n += size;
        p++;
    }

    if (dst) {
        dst[n] = '"';
    }

    return n + 1;
}


int
rtbus_json_uint(const rtbus_str_t *raw, uint64_t *n)
{
    size_t    i;
    uint8_t   digit;
    uint64_t  value;

    if (raw->len == 0 || (raw->len > 1 && raw->data[0] == '0')) {
        return RTBUS_ERROR;
    }

    value = 0;

    for (i = 0; i < raw->len; i++) {

        if (raw->data[i] < '0' || raw->data[i] > '9') {
            return RTBUS_ERROR;
        }

        digit = raw->data[i] - '0';

        if (value > (UINT64_MAX - digit) / 10) {
            return RTBUS_ERROR;
        }

        value = value * 10 + digit;
    }

    *n = value;

    return RTBUS_OK;
}


/* the text is one JSON value, and here it is without white space around */

static int
rtbus_json_check(rtbus_json_t *json, const uint8_t *p, size_t len,
    rtbus_json_value_t *value, const char **reason)
{
    int             rc;
    const uint8_t  *last;

    last = len ? p + len : p;

    while (p < last && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }

    while (p < last && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\n'
                        || last[-1] == '\r'))
    {
        last--;
    }

    if (p == last) {
        *reason = "not JSON";
        return RTBUS_ERROR;
    }

    value->raw.data = (uint8_t *) p;
    value->raw.len = last - p;

    rc = rtbus_json_check_text(json, &value->raw, reason);

    if (rc == RTBUS_OK) {
        value->type = rtbus_json_type(*p);
    }

    return rc;
}


static int
rtbus_json_check_text(rtbus_json_t *json, const rtbus_str_t *text,
    const char **reason)
{
    size_t       size;
    yajl_status  status;

    json->failed = NULL;

    if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, text->data, text->len)
        != RTBUS_UTF8_ACCEPT)
    {
        *reason = "bad UTF-8";
        return RTBUS_ERROR;
    }

    if (memchr(text->data, '\v', text->len)
        || memchr(text->data, '\f', text->len))
    {
        *reason = "not JSON";
        return RTBUS_ERROR;
    }

    if (setjmp(json->nomem) != 0) {
        rtbus_json_close(json);
        return RTBUS_NOMEM;
    }

    if (json->yajl == NULL) {
        rtbus_json_open(json);
    }

    json->level = 0;

    status = yajl_parse(json->yajl, text->data, text->len);

    size = (status == yajl_status_ok) ? text->len
                                      : yajl_get_bytes_consumed(json->yajl);

    /* ends a number; a string still open must not hold a line feed */

    if (status == yajl_status_ok) {
        status = yajl_parse(json->yajl, (const unsigned char *) "\n", 1);
    }

    /*
     * So far the handle has refused whatever came after the value.  Finished
     * while several values are allowed it is ready for the next text, of which
     * again it will take one value only.
     */

    if (status == yajl_status_ok) {
        (void) yajl_config(json->yajl, yajl_allow_multiple_values, 1);
        status = yajl_complete_parse(json->yajl);
        (void) yajl_config(json->yajl, yajl_allow_multiple_values, 0);
    }

    if (status != yajl_status_ok) {
        rtbus_json_close(json);

        json->failed = text->data + size;

        *reason = (status == yajl_status_client_canceled) ? "nested too deep"
                                                          : "not JSON";
        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


static void
rtbus_json_open(rtbus_json_t *json)
{
    json->yajl = yajl_alloc(&rtbus_json_callbacks, &json->funcs, json);

    (void) yajl_config(json->yajl, yajl_allow_comments, 0);
    (void) yajl_config(json->yajl, yajl_dont_validate_strings, 1);
}


/* a handle that has failed, or was left in the middle, is of no more use */

static void
rtbus_json_close(rtbus_json_t *json)
{
    size_t  i;

    for (i = 0; i < RTBUS_JSON_BLOCKS; i++) {
        free(json->blocks[i]);
        json->blocks[i] = NULL;
    }

    json->yajl = NULL;
}


static int
rtbus_json_start(void *ctx)
{
    rtbus_json_t  *json = ctx;

    return ++json->level <= json->depth;
}


static int
rtbus_json_end(void *ctx)
{
    rtbus_json_t  *json = ctx;

    json->level--;

    return 1;
}


static void *
rtbus_json_malloc(void *ctx, size_t size)
{
    return rtbus_json_realloc(ctx, NULL, size);
}


static void *
rtbus_json_realloc(void *ctx, void *p, size_t size)
{
    size_t         i;
    void          *block;
    rtbus_json_t  *json = ctx;

    /* p is NULL: the first free slot */

    for (i = 0; i < RTBUS_JSON_BLOCKS; i++) {

        if (json->blocks[i] != p) {
            continue;
        }

        block = realloc(p, size);
        if (block == NULL) {
            break;
        }

        json->blocks[i] = block;

        return block;
    }

    longjmp(json->nomem, 1);
}


static void
rtbus_json_free(void *ctx, void *p)
{
    size_t         i;
    rtbus_json_t  *json = ctx;

    if (p == NULL) {
        return;
    }

    for (i = 0; i < RTBUS_JSON_BLOCKS; i++) {

        if (json->blocks[i] == p) {
            free(p);
            json->blocks[i] = NULL;
            return;
        }
    }
}


/*
 * From here on the text is known to be good.  Takes the value that starts at
 * p; answers its end.
 */

static const uint8_t *
rtbus_json_cut(rtbus_json_value_t *value, const uint8_t *p,
    const uint8_t *last)
{
    value->raw.data = (uint8_t *) p;
    value->type = rtbus_json_type(*p);

    switch (value->type) {

    case RTBUS_JSON_STRING:
        p = rtbus_json_skip_string(p, last);
        break;

    case RTBUS_JSON_OBJECT:
    case RTBUS_JSON_ARRAY:
        p = rtbus_json_skip_container(p, last);
        break;

    default:
        while (p < last && *p > ' ' && *p != ',' && *p != ']' && *p != '}') {
            p++;
        }
    }

    value->raw.len = p - value->raw.data;

    return p;
}


static const uint8_t *
rtbus_json_skip_space(const uint8_t *p)
{
    while (*p <= ' ') {
        p++;
    }

    return p;
}


/* a quote behind an odd number of backslashes belongs to the string */

static const uint8_t *
rtbus_json_skip_string(const uint8_t *p, const uint8_t *last)
{
    const uint8_t  *start, *slash;

    start = ++p;

    for ( ;; ) {
        p = memchr(p, '"', last - p);
        if (p == NULL) {
            return last;
        }

        for (slash = p; slash > start && slash[-1] == '\\'; slash--) {
            /* void */
        }

        p++;

        if (((p - slash) & 1) == 1) {
            return p;
        }
    }
}


static const uint8_t *
rtbus_json_skip_container(const uint8_t *p, const uint8_t *last)
{
    unsigned  level;

    level = 0;

    while (p < last) {

        switch (*p) {

        case '"':
            p = rtbus_json_skip_string(p, last);
            continue;

        case '{':
        case '[':
            level++;
            break;

        case '}':
        case ']':
            if (--level == 0) {
                return p + 1;
            }

            break;
        }

        p++;
    }

    return last;
}


/* compares a key that has escapes */

static int
rtbus_json_key_is(const rtbus_str_t *raw, const char *name, size_t len)
{
    size_t          n;
    uint8_t         buf[4];
    const uint8_t  *p, *last;

    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    while (p < last) {

        if (*p == '\\') {
            n = rtbus_json_unescape(buf, &p, last);

        } else {
            buf[0] = *p++;
            n = 1;
        }

        if (n > len || memcmp(buf, name, n) != 0) {
            return 0;
        }

        name += n;
        len -= n;
    }

    return len == 0;
}


/* decodes the escape at *pos and steps over it; 1 to 4 bytes go to dst */

static size_t
rtbus_json_unescape(uint8_t *dst, const uint8_t **pos, const uint8_t *last)
{
    uint32_t        c, low;
    const uint8_t  *p;

    p = *pos + 1;
    c = *p++;

    switch (c) {

    case 'b':
        c = '\b';
        break;

    case 't':
        c = '\t';
        break;

    case 'n':
        c = '\n';
        break;

    case 'f':
        c = '\f';
        break;

    case 'r':
        c = '\r';
        break;

    case 'u':
        c = rtbus_json_hex4(p);
        p += 4;

        if (c < 0xd800 || c > 0xdfff) {
            break;
        }

        /* RFC 8259 section 7: two escapes make one character above U+FFFF */

        if (c < 0xdc00 && last - p >= 6 && p[0] == '\\' && p[1] == 'u') {
            low = rtbus_json_hex4(p + 2);

            if (low >= 0xdc00 && low <= 0xdfff) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
                break;
            }
        }

        c = 0xfffd;
        break;

    default:
        /* a quote, a slash or a backslash stands for itself */
        break;
    }

    *pos = p;

    return rtbus_json_encode(dst, c);
}


static uint32_t
rtbus_json_hex4(const uint8_t *p)
{
    size_t    i;
    uint32_t  c;

    c = 0;

    for (i = 0; i < 4; i++) {
        c = c << 4 | (p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    }

    return c;
}


static size_t
rtbus_json_encode(uint8_t *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = c;
        return 1;
    }

    if (c < 0x800) {
        dst[0] = 0xc0 | c >> 6;
        dst[1] = 0x80 | (c & 0x3f);
        return 2;
    }

    if (c < 0x10000) {
        dst[0] = 0xe0 | c >> 12;
        dst[1] = 0x80 | (c >> 6 & 0x3f);
        dst[2] = 0x80 | (c & 0x3f);
        return 3;
    }

    dst[0] = 0xf0 | c >> 18;
    dst[1] = 0x80 | (c >> 12 & 0x3f);
    dst[2] = 0x80 | (c >> 6 & 0x3f);
    dst[3] = 0x80 | (c & 0x3f);

    return 4;
}


/* the length of the character of two bytes and more at p; 0: there is none */

static size_t
rtbus_json_character(const uint8_t *p, const uint8_t *last)
{
    size_t  n;

    if (*p < 0xc0) {
        return 0;
    }

    n = (*p < 0xe0) ? 2 : (*p < 0xf0) ? 3 : 4;

    if ((size_t) (last - p) < n
        || rtbus_utf8_check(RTBUS_UTF8_ACCEPT, p, n) != RTBUS_UTF8_ACCEPT)
    {
        return 0;
    }

    return n;
}
