
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtbus_schema_node.h"


static void rtbus_schema_put_path(rtbus_schema_text_t *t,
    const rtbus_schema_path_t *path);


const rtbus_schema_type_t  rtbus_schema_types[] = {
    { "string", "a string", RTBUS_SCHEMA_STRING },
    { "number", "a number", RTBUS_SCHEMA_NUM },
    { "integer", "an integer", RTBUS_SCHEMA_INT },
    { "boolean", "a boolean", RTBUS_SCHEMA_BOOL },
    { "object", "an object", RTBUS_SCHEMA_OBJECT },
    { "array", "an array", RTBUS_SCHEMA_ARRAY },
    { "null", "null", RTBUS_SCHEMA_NULL },
    { NULL, NULL, 0 }
};


const rtbus_schema_path_t  rtbus_schema_data = {
    NULL, { 4, (uint8_t *) "data" }, 0
};


/* RTBUS_ERROR: it is longer than anything that the schema could know */

int
rtbus_schema_decode(rtbus_str_t *dst, const rtbus_str_t *raw, uint8_t *buf)
{
    if (memchr(raw->data, '\\', raw->len) == NULL) {
        dst->data = raw->data + 1;
        dst->len = raw->len - 2;
        return RTBUS_OK;
    }

    if (rtbus_json_unquote(NULL, raw) > RTBUS_SCHEMA_NAME_MAX) {
        return RTBUS_ERROR;
    }

    dst->data = buf;
    dst->len = rtbus_json_unquote(buf, raw);

    return RTBUS_OK;
}


rtbus_schema_member_t *
rtbus_schema_find(const rtbus_schema_members_t *members,
    const rtbus_str_t *name)
{
    int                     rc;
    size_t                  low, high, mid;
    rtbus_schema_member_t   key;

    key.name = *name;

    low = 0;
    high = members->n;

    while (low < high) {
        mid = low + (high - low) / 2;

        rc = rtbus_schema_cmp(&key, &members->elts[mid]);

        if (rc == 0) {
            return &members->elts[mid];
        }

        if (rc < 0) {
            high = mid;

        } else {
            low = mid + 1;
        }
    }

    return NULL;
}


int
rtbus_schema_cmp(const void *one, const void *two)
{
    const rtbus_str_t  *a, *b;

    a = &((const rtbus_schema_member_t *) one)->name;
    b = &((const rtbus_schema_member_t *) two)->name;

    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }

    return memcmp(a->data, b->data, a->len);
}


/* doubles would take 2^53 + 1 for 2^53, and their parser obeys the locale */

void
rtbus_schema_number(rtbus_schema_number_t *n, const rtbus_str_t *raw)
{
    int             point, minus;
    size_t          digits;
    int64_t         e;
    const uint8_t  *p, *last;

    p = raw->data;
    last = p + raw->len;

    n->sign = 1;
    n->exp = -1;
    n->digits = 0;
    n->first = NULL;
    n->last = NULL;

    if (*p == '-') {
        n->sign = -1;
        p++;
    }

    point = 0;
    digits = 0;

    for ( /* void */ ; p < last && *p != 'e' && *p != 'E'; p++) {

        if (*p == '.') {
            point = 1;
            continue;
        }

        if (n->first == NULL) {

            if (*p == '0') {
                n->exp -= point;
                continue;
            }

            n->first = p;
        }

        n->exp += !point;
        digits++;

        if (*p != '0') {
            n->last = p + 1;
            n->digits = digits;
        }
    }

    if (n->first == NULL) {
        n->sign = 0;
        return;
    }

    if (p == last) {
        return;
    }

    p++;
    minus = (*p == '-');

    if (*p == '-' || *p == '+') {
        p++;
    }

    for (e = 0; p < last; p++) {

        /* beyond any number of digits */

        if (e < INT64_MAX / 100) {
            e = e * 10 + (*p - '0');
        }
    }

    n->exp += minus ? -e : e;
}


int
rtbus_schema_number_cmp(const rtbus_schema_number_t *a,
    const rtbus_schema_number_t *b)
{
    const uint8_t  *p, *q;

    if (a->sign != b->sign) {
        return a->sign < b->sign ? -1 : 1;
    }

    if (a->sign == 0) {
        return 0;
    }

    if (a->exp != b->exp) {
        return a->exp < b->exp ? -a->sign : a->sign;
    }

    p = a->first;
    q = b->first;

    for ( ;; ) {

        if (p < a->last && *p == '.') {
            p++;
        }

        if (q < b->last && *q == '.') {
            q++;
        }

        if (p == a->last || q == b->last) {
            break;
        }

        if (*p != *q) {
            return *p < *q ? -a->sign : a->sign;
        }

        p++;
        q++;
    }

    if (p == a->last && q == b->last) {
        return 0;
    }

    /* the last digit is not 0: who has more of them is larger */

    return (p == a->last) ? -a->sign : a->sign;
}


void
rtbus_schema_write(char *err, const char *prefix, const rtbus_str_t *event,
    const rtbus_schema_path_t *path, const char *separator, const char *reason)
{
    rtbus_schema_text_t  t;

    t.p = err;
    t.last = err + RTBUS_SCHEMA_ERROR - sizeof("...") - strlen(separator)
             - strlen(reason);
    t.cut = 0;

    rtbus_schema_put(&t, prefix, strlen(prefix));

    if (event) {
        rtbus_schema_put(&t, event->data, event->len);
        rtbus_schema_put(&t, ": ", 2);
    }

    if (path) {
        rtbus_schema_put_path(&t, path);
    }

    t.last = err + RTBUS_SCHEMA_ERROR - 1;

    if (t.cut) {
        t.cut = 0;
        rtbus_schema_put(&t, "...", 3);
    }

    rtbus_schema_put(&t, separator, strlen(separator));
    rtbus_schema_put(&t, reason, strlen(reason));

    *t.p = '\0';
}


static void
rtbus_schema_put_path(rtbus_schema_text_t *t, const rtbus_schema_path_t *path)
{
    int   n;
    char  index[32];

    if (path->up) {
        rtbus_schema_put_path(t, path->up);
    }

    if (path->name.data == NULL) {
        n = snprintf(index, sizeof(index), "[%zu]", path->index);
        rtbus_schema_put(t, index, n);
        return;
    }

    if (path->up) {
        rtbus_schema_put(t, ".", 1);
    }

    rtbus_schema_put(t, path->name.data, path->name.len);
}


/* what does not fit is cut, never within a character, and nothing follows */

void
rtbus_schema_put(rtbus_schema_text_t *t, const void *data, size_t len)
{
    const uint8_t  *p, *last;

    if (t->cut) {
        return;
    }

    p = data;

    if (len > (size_t) (t->last - t->p)) {
        len = t->last - t->p;
        t->cut = 1;

        while (len && (p[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    for (last = p + len; p < last; p++) {
        *t->p++ = (*p == 0x7f) ? '?' : *p;
    }
}
