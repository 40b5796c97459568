
/*
 * Shapes of events: a file is compiled once, and then data is walked along
 * with what was compiled, slice by slice.
 *
 * How deep the walk goes is what the file says, which is nested no deeper than
 * an event may be.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtbus_schema.h"


#define RTBUS_SCHEMA_NAME_MAX  RTBUS_EVENT_NAME_MAX  /* bytes, decoded */
#define RTBUS_SCHEMA_REQUIRED  256                   /* of one object */
#define RTBUS_SCHEMA_NUMBER    32                    /* bytes of a bound */
#define RTBUS_SCHEMA_REASON    160                   /* bytes of a reason */
#define RTBUS_SCHEMA_QUOTED    80                    /* ... and of its quote */

#define RTBUS_SCHEMA_NULL      0x01
#define RTBUS_SCHEMA_BOOL      0x02
#define RTBUS_SCHEMA_NUM       0x04
#define RTBUS_SCHEMA_INT       0x08
#define RTBUS_SCHEMA_STRING    0x10
#define RTBUS_SCHEMA_OBJECT    0x20
#define RTBUS_SCHEMA_ARRAY     0x40
#define RTBUS_SCHEMA_ANY       0x7f


/* the indices of the table in rtbus_schema_node() */

typedef enum {
    RTBUS_SCHEMA_K_TYPE = 0,
    RTBUS_SCHEMA_K_PROPERTIES,
    RTBUS_SCHEMA_K_REQUIRED,
    RTBUS_SCHEMA_K_ADDITIONAL,
    RTBUS_SCHEMA_K_ITEMS,
    RTBUS_SCHEMA_K_ENUM,
    RTBUS_SCHEMA_K_MINIMUM,
    RTBUS_SCHEMA_K_MAXIMUM,
    RTBUS_SCHEMA_K_SCHEMA,
    RTBUS_SCHEMA_K_COMMENT,
    RTBUS_SCHEMA_K_TITLE,
    RTBUS_SCHEMA_K_DESCRIPTION,
    RTBUS_SCHEMA_KEYWORDS
} rtbus_schema_keyword_e;


typedef struct rtbus_schema_node_s   rtbus_schema_node_t;
typedef struct rtbus_schema_block_s  rtbus_schema_block_t;
typedef struct rtbus_schema_path_s   rtbus_schema_path_t;


/* d.ddd * 10^exp, the first and the last digit are not 0; sign 0: it is 0 */

typedef struct {
    int                          sign;
    int64_t                      exp;
    size_t                       digits;
    const uint8_t               *first;    /* maybe with a point among them */
    const uint8_t               *last;     /* behind the last digit */
} rtbus_schema_number_t;


typedef struct {
    rtbus_json_type_e            type;
    rtbus_str_t                  text;     /* a string is decoded */
    rtbus_schema_number_t        number;
} rtbus_schema_value_t;


/* an event, or a member of an object */

typedef struct {
    rtbus_str_t                  name;     /* decoded */
    rtbus_str_t                  raw;      /* as in the file, without quotes */
    const rtbus_schema_node_t   *node;     /* NULL: is required only */
    int                          bit;      /* its place in required, or -1 */
} rtbus_schema_member_t;


typedef struct {
    rtbus_schema_member_t       *elts;     /* sorted */
    size_t                       n;
} rtbus_schema_members_t;


struct rtbus_schema_node_s {
    unsigned                     types;
    rtbus_schema_value_t        *values;   /* enum */
    size_t                       nvalues;
    rtbus_schema_value_t        *minimum;  /* or NULL */
    rtbus_schema_value_t        *maximum;
    rtbus_schema_members_t       members;
    size_t                       nrequired;
    const rtbus_schema_node_t   *additional;  /* NULL: anything */
    const rtbus_schema_node_t   *items;       /* likewise */
};


struct rtbus_schema_block_s {
    rtbus_schema_block_t        *next;
    uint64_t                     data[1];
};


struct rtbus_schema_s {
    rtbus_schema_members_t       events;
    int                          strict;
    rtbus_schema_block_t        *blocks;
};


/* where a walk is: on the stack of its functions, text only in case of need */

struct rtbus_schema_path_s {
    const rtbus_schema_path_t   *up;
    rtbus_str_t                  name;     /* without quotes */
    size_t                       index;    /* of an element, without name */
};


typedef struct {
    rtbus_schema_t              *schema;
    rtbus_json_t                *json;
    const uint8_t               *text;     /* the schema's own copy */
    rtbus_str_t                  event;    /* raw; len 0: none */
    char                        *err;
} rtbus_schema_compiler_t;


typedef struct {
    char                        *p;
    char                        *last;
    int                          cut;
} rtbus_schema_text_t;


static int rtbus_schema_compile(rtbus_schema_compiler_t *c,
    const rtbus_str_t *text);
static int rtbus_schema_node(rtbus_schema_compiler_t *c,
    const rtbus_schema_node_t **out, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_keywords(rtbus_schema_compiler_t *c,
    const rtbus_json_value_t *value, rtbus_json_member_t *keywords,
    const rtbus_schema_path_t *path);
static int rtbus_schema_type(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_type_bit(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_enum(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_bound(rtbus_schema_compiler_t *c,
    rtbus_schema_value_t **bound, const rtbus_json_member_t *keyword,
    const rtbus_schema_path_t *path);
static int rtbus_schema_object(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, rtbus_json_member_t *keywords,
    const rtbus_schema_path_t *path);
static int rtbus_schema_properties(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_required(rtbus_schema_compiler_t *c,
    rtbus_schema_node_t *node, const rtbus_json_value_t *value,
    const rtbus_schema_path_t *path);
static int rtbus_schema_sort(rtbus_schema_compiler_t *c,
    rtbus_schema_members_t *members, const rtbus_schema_path_t *path);
static int rtbus_schema_string(rtbus_schema_compiler_t *c, rtbus_str_t *dst,
    const rtbus_str_t *raw, const rtbus_schema_path_t *path);
static size_t rtbus_schema_count(const rtbus_json_value_t *value);
static void *rtbus_schema_alloc(rtbus_schema_t *schema, size_t size);
static int rtbus_schema_error(rtbus_schema_compiler_t *c,
    const rtbus_schema_path_t *path, const uint8_t *at, const char *reason,
    const rtbus_str_t *quoted);

static int rtbus_schema_walk(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_walk_object(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_walk_array(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static unsigned rtbus_schema_types(const rtbus_json_value_t *value);
static int rtbus_schema_listed(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value);
static int rtbus_schema_bad_type(const rtbus_schema_node_t *node,
    const rtbus_schema_path_t *path, char *err);
static int rtbus_schema_bad_number(const char *reason,
    const rtbus_schema_value_t *bound, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_missing(const rtbus_schema_node_t *node, int bit,
    const rtbus_schema_path_t *path, char *err);

static int rtbus_schema_decode(rtbus_str_t *dst, const rtbus_str_t *raw,
    uint8_t *buf);
static rtbus_schema_member_t *rtbus_schema_find(
    const rtbus_schema_members_t *members, const rtbus_str_t *name);
static int rtbus_schema_cmp(const void *one, const void *two);
static void rtbus_schema_number(rtbus_schema_number_t *n,
    const rtbus_str_t *raw);
static int rtbus_schema_number_cmp(const rtbus_schema_number_t *a,
    const rtbus_schema_number_t *b);
static void rtbus_schema_write(char *err, const char *prefix,
    const rtbus_str_t *event, const rtbus_schema_path_t *path,
    const char *separator, const char *reason);
static void rtbus_schema_put_path(rtbus_schema_text_t *t,
    const rtbus_schema_path_t *path);
static void rtbus_schema_put(rtbus_schema_text_t *t, const void *data,
    size_t len);


static const struct {
    const char   *name;
    const char   *words;
    unsigned      bit;
} rtbus_schema_type_names[] = {
    { "string", "a string", RTBUS_SCHEMA_STRING },
    { "number", "a number", RTBUS_SCHEMA_NUM },
    { "integer", "an integer", RTBUS_SCHEMA_INT },
    { "boolean", "a boolean", RTBUS_SCHEMA_BOOL },
    { "object", "an object", RTBUS_SCHEMA_OBJECT },
    { "array", "an array", RTBUS_SCHEMA_ARRAY },
    { "null", "null", RTBUS_SCHEMA_NULL },
    { NULL, NULL, 0 }
};


/* "true" and "false" in place of a schema */

static const rtbus_schema_node_t  rtbus_schema_any = {
    RTBUS_SCHEMA_ANY, NULL, 0, NULL, NULL, { NULL, 0 }, 0, NULL, NULL
};

static const rtbus_schema_node_t  rtbus_schema_none = {
    0, NULL, 0, NULL, NULL, { NULL, 0 }, 0, NULL, NULL
};


static const rtbus_schema_path_t  rtbus_schema_data = {
    NULL, { 4, (uint8_t *) "data" }, 0
};


int
rtbus_schema_create(rtbus_schema_t **schema, const uint8_t *p, size_t len,
    int strict, char *err)
{
    int                       rc;
    uint8_t                  *copy;
    rtbus_str_t               text;
    rtbus_schema_compiler_t   c;

    memset(&c, 0, sizeof(rtbus_schema_compiler_t));

    c.err = err;

    c.schema = calloc(1, sizeof(rtbus_schema_t));
    if (c.schema == NULL) {
        return RTBUS_NOMEM;
    }

    c.schema->strict = strict;

    rc = RTBUS_NOMEM;
    copy = rtbus_schema_alloc(c.schema, len + 1);
    c.json = rtbus_json_create(RTBUS_EVENT_DEPTH);

    if (copy && c.json) {

        if (len) {
            memcpy(copy, p, len);
        }

        c.text = copy;

        text.data = copy;
        text.len = len;

        rc = rtbus_schema_compile(&c, &text);
    }

    rtbus_json_destroy(c.json);

    if (rc != RTBUS_OK) {
        rtbus_schema_destroy(c.schema);
        return rc;
    }

    *schema = c.schema;

    return RTBUS_OK;
}


void
rtbus_schema_destroy(rtbus_schema_t *schema)
{
    rtbus_schema_block_t  *block, *next;

    if (schema == NULL) {
        return;
    }

    for (block = schema->blocks; block; block = next) {
        next = block->next;
        free(block);
    }

    free(schema);
}


int
rtbus_schema_check(const rtbus_schema_t *schema, const rtbus_str_t *name,
    const rtbus_str_t *data, char *err)
{
    rtbus_json_value_t      value;
    rtbus_schema_member_t  *event;

    event = rtbus_schema_find(&schema->events, name);

    if (event == NULL) {

        if (schema->strict) {
            rtbus_schema_write(err, "", NULL, NULL, "",
                               "event name is not in the schema");
            return RTBUS_ERROR;
        }

        return RTBUS_OK;
    }

    if (data->len) {
        value.raw = *data;
        value.type = rtbus_json_type(data->data[0]);

        return rtbus_schema_walk(event->node, &value, &rtbus_schema_data, err);
    }

    /* what is not there is null for clients */

    value.raw.data = (uint8_t *) "null";
    value.raw.len = 4;
    value.type = RTBUS_JSON_NULL;

    if (rtbus_schema_walk(event->node, &value, &rtbus_schema_data, err)
        != RTBUS_OK)
    {
        rtbus_schema_write(err, "", NULL, &rtbus_schema_data, " ",
                           "is missing");
        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


int
rtbus_schema_event(const rtbus_schema_t *schema, const rtbus_event_t *ev,
    char *err)
{
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    if (ev->args.len == 0) {
        return rtbus_schema_check(schema, &ev->name, &ev->data, err);
    }

    pos = NULL;

    if (rtbus_json_next(&value, &pos, &ev->args) != RTBUS_OK) {
        value.raw.data = NULL;
        value.raw.len = 0;
    }

    return rtbus_schema_check(schema, &ev->name, &value.raw, err);
}


static int
rtbus_schema_compile(rtbus_schema_compiler_t *c, const rtbus_str_t *text)
{
    int                      rc;
    const char              *reason;
    const uint8_t           *pos;
    rtbus_event_t            ev;
    rtbus_json_value_t       file, key, value;
    rtbus_schema_member_t   *event;
    rtbus_schema_members_t  *events;

    rc = rtbus_json_value(c->json, text->data, text->len, &file, &reason);

    if (rc == RTBUS_NOMEM) {
        return rc;
    }

    if (rc == RTBUS_ERROR) {
        return rtbus_schema_error(c, NULL, rtbus_json_failed(c->json), reason,
                                  NULL);
    }

    if (file.type != RTBUS_JSON_OBJECT) {
        return rtbus_schema_error(c, NULL, file.raw.data, "not an object",
                                  NULL);
    }

    events = &c->schema->events;

    events->elts = rtbus_schema_alloc(c->schema, rtbus_schema_count(&file) / 2
                                                 * sizeof(*event));
    if (events->elts == NULL) {
        return RTBUS_NOMEM;
    }

    pos = NULL;

    while (rtbus_json_next(&key, &pos, &file.raw) == RTBUS_OK) {

        (void) rtbus_json_next(&value, &pos, &file.raw);

        /* no event's schema is a string */

        if (value.type == RTBUS_JSON_STRING
            && ((key.raw.len == 9
                 && memcmp(key.raw.data, "\"$schema\"", 9) == 0)
                || (key.raw.len == 10
                    && memcmp(key.raw.data, "\"$comment\"", 10) == 0)))
        {
            continue;
        }

        event = &events->elts[events->n++];

        event->raw.data = key.raw.data + 1;
        event->raw.len = key.raw.len - 2;

        c->event = event->raw;

        if (rtbus_event_name(&ev, &key.raw, &reason) != RTBUS_OK) {
            return rtbus_schema_error(c, NULL, key.raw.data, reason, NULL);
        }

        rc = rtbus_schema_string(c, &event->name, &key.raw, NULL);
        if (rc != RTBUS_OK) {
            return rc;
        }

        rc = rtbus_schema_node(c, &event->node, &value, &rtbus_schema_data);
        if (rc != RTBUS_OK) {
            return rc;
        }
    }

    c->event.len = 0;

    return rtbus_schema_sort(c, events, NULL);
}


static int
rtbus_schema_node(rtbus_schema_compiler_t *c, const rtbus_schema_node_t **out,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int                    rc;
    rtbus_schema_node_t   *node;
    rtbus_schema_path_t    element;
    rtbus_json_member_t   *items, *annotation;
    rtbus_json_member_t    keywords[RTBUS_SCHEMA_KEYWORDS] = {
        rtbus_json_member("type"),
        rtbus_json_member("properties"),
        rtbus_json_member("required"),
        rtbus_json_member("additionalProperties"),
        rtbus_json_member("items"),
        rtbus_json_member("enum"),
        rtbus_json_member("minimum"),
        rtbus_json_member("maximum"),
        rtbus_json_member("$schema"),
        rtbus_json_member("$comment"),
        rtbus_json_member("title"),
        rtbus_json_member("description")
    };

    if (value->type == RTBUS_JSON_BOOL) {
        *out = (value->raw.data[0] == 't') ? &rtbus_schema_any
                                           : &rtbus_schema_none;
        return RTBUS_OK;
    }

    if (value->type != RTBUS_JSON_OBJECT) {
        return rtbus_schema_error(c, path, value->raw.data,
                                  "a schema is an object or a boolean", NULL);
    }

    rc = rtbus_schema_keywords(c, value, keywords, path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    for (annotation = &keywords[RTBUS_SCHEMA_K_SCHEMA];
         annotation < &keywords[RTBUS_SCHEMA_KEYWORDS];
         annotation++)
    {
        if (annotation->value.type != RTBUS_JSON_NONE
            && annotation->value.type != RTBUS_JSON_STRING)
        {
            return rtbus_schema_error(c, path, annotation->value.raw.data,
                                      "an annotation is a string", NULL);
        }
    }

    node = rtbus_schema_alloc(c->schema, sizeof(rtbus_schema_node_t));
    if (node == NULL) {
        return RTBUS_NOMEM;
    }

    *out = node;

    rc = rtbus_schema_type(c, node, &keywords[RTBUS_SCHEMA_K_TYPE].value,
                           path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    rc = rtbus_schema_enum(c, node, &keywords[RTBUS_SCHEMA_K_ENUM].value,
                           path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    rc = rtbus_schema_bound(c, &node->minimum,
                            &keywords[RTBUS_SCHEMA_K_MINIMUM], path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    rc = rtbus_schema_bound(c, &node->maximum,
                            &keywords[RTBUS_SCHEMA_K_MAXIMUM], path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    if (node->minimum && node->maximum
        && rtbus_schema_number_cmp(&node->minimum->number,
                                   &node->maximum->number)
           > 0)
    {
        return rtbus_schema_error(c, path, node->maximum->text.data,
                                  "minimum is greater than maximum", NULL);
    }

    rc = rtbus_schema_object(c, node, keywords, path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    items = &keywords[RTBUS_SCHEMA_K_ITEMS];

    if (items->value.type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    element.up = path;
    element.name.data = (uint8_t *) items->name;
    element.name.len = items->len;

    return rtbus_schema_node(c, &node->items, &items->value, &element);
}


/* sets the values of known keywords; there is no other, and each comes once */

static int
rtbus_schema_keywords(rtbus_schema_compiler_t *c,
    const rtbus_json_value_t *value, rtbus_json_member_t *keywords,
    const rtbus_schema_path_t *path)
{
    size_t               i;
    uint32_t             seen;
    rtbus_str_t          name, raw;
    const char          *reason;
    const uint8_t       *pos;
    rtbus_json_value_t   key, skipped;
    uint8_t              buf[RTBUS_SCHEMA_NAME_MAX];

    rtbus_json_members(&value->raw, keywords, RTBUS_SCHEMA_KEYWORDS);

    seen = 0;
    pos = NULL;

    while (rtbus_json_next(&key, &pos, &value->raw) == RTBUS_OK) {

        (void) rtbus_json_next(&skipped, &pos, &value->raw);

        i = RTBUS_SCHEMA_KEYWORDS;

        if (rtbus_schema_decode(&name, &key.raw, buf) == RTBUS_OK) {

            for (i = 0; i < RTBUS_SCHEMA_KEYWORDS; i++) {
                if (keywords[i].len == name.len
                    && memcmp(keywords[i].name, name.data, name.len) == 0)
                {
                    break;
                }
            }
        }

        if (i < RTBUS_SCHEMA_KEYWORDS && !(seen & 1u << i)) {
            seen |= 1u << i;
            continue;
        }

        reason = (i == RTBUS_SCHEMA_KEYWORDS) ? "unknown keyword"
                                              : "duplicate keyword";
        raw.data = key.raw.data + 1;
        raw.len = key.raw.len - 2;

        return rtbus_schema_error(c, path, key.raw.data, reason, &raw);
    }

    return RTBUS_OK;
}


static int
rtbus_schema_type(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int                  rc;
    const uint8_t       *pos;
    rtbus_json_value_t   element;

    if (value->type == RTBUS_JSON_NONE) {
        node->types = RTBUS_SCHEMA_ANY;
        return RTBUS_OK;
    }

    if (value->type != RTBUS_JSON_ARRAY) {
        return rtbus_schema_type_bit(c, node, value, path);
    }

    pos = NULL;

    while (rtbus_json_next(&element, &pos, &value->raw) == RTBUS_OK) {

        rc = rtbus_schema_type_bit(c, node, &element, path);
        if (rc != RTBUS_OK) {
            return rc;
        }
    }

    if (node->types == 0) {
        return rtbus_schema_error(c, path, value->raw.data, "type is empty",
                                  NULL);
    }

    return RTBUS_OK;
}


static int
rtbus_schema_type_bit(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int          i;
    rtbus_str_t  name;
    uint8_t      buf[RTBUS_SCHEMA_NAME_MAX];

    if (value->type != RTBUS_JSON_STRING) {
        return rtbus_schema_error(c, path, value->raw.data,
                                  "type is not a string or array of strings",
                                  NULL);
    }

    if (rtbus_schema_decode(&name, &value->raw, buf) == RTBUS_OK) {

        for (i = 0; rtbus_schema_type_names[i].name; i++) {
            if (strlen(rtbus_schema_type_names[i].name) == name.len
                && memcmp(rtbus_schema_type_names[i].name, name.data, name.len)
                   == 0)
            {
                node->types |= rtbus_schema_type_names[i].bit;
                return RTBUS_OK;
            }
        }
    }

    name.data = value->raw.data + 1;
    name.len = value->raw.len - 2;

    return rtbus_schema_error(c, path, value->raw.data, "unknown type",
                              &name);
}


static int
rtbus_schema_enum(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int                    rc;
    const uint8_t         *pos;
    rtbus_json_value_t     element;
    rtbus_schema_value_t  *v;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    if (value->type != RTBUS_JSON_ARRAY || rtbus_schema_count(value) == 0) {
        return rtbus_schema_error(c, path, value->raw.data,
                                  "enum is not an array of values", NULL);
    }

    node->values = rtbus_schema_alloc(c->schema, rtbus_schema_count(value)
                                                 * sizeof(*v));
    if (node->values == NULL) {
        return RTBUS_NOMEM;
    }

    pos = NULL;

    while (rtbus_json_next(&element, &pos, &value->raw) == RTBUS_OK) {

        v = &node->values[node->nvalues++];

        v->type = element.type;
        v->text = element.raw;

        switch (element.type) {

        case RTBUS_JSON_OBJECT:
        case RTBUS_JSON_ARRAY:
            return rtbus_schema_error(c, path, element.raw.data,
                                      "enum has an object or an array", NULL);

        case RTBUS_JSON_STRING:
            rc = rtbus_schema_string(c, &v->text, &element.raw, path);
            if (rc != RTBUS_OK) {
                return rc;
            }

            break;

        case RTBUS_JSON_NUMBER:
            rtbus_schema_number(&v->number, &element.raw);
            break;

        default:
            break;
        }
    }

    return RTBUS_OK;
}


static int
rtbus_schema_bound(rtbus_schema_compiler_t *c, rtbus_schema_value_t **bound,
    const rtbus_json_member_t *keyword, const rtbus_schema_path_t *path)
{
    rtbus_str_t            name;
    rtbus_schema_value_t  *v;

    if (keyword->value.type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    if (keyword->value.type != RTBUS_JSON_NUMBER
        || keyword->value.raw.len > RTBUS_SCHEMA_NUMBER)
    {
        name.data = (uint8_t *) keyword->name;
        name.len = keyword->len;

        return rtbus_schema_error(c, path, keyword->value.raw.data,
                                  "not a number of at most 32 bytes:", &name);
    }

    v = rtbus_schema_alloc(c->schema, sizeof(rtbus_schema_value_t));
    if (v == NULL) {
        return RTBUS_NOMEM;
    }

    v->type = keyword->value.type;
    v->text = keyword->value.raw;
    rtbus_schema_number(&v->number, &v->text);

    *bound = v;

    return RTBUS_OK;
}


static int
rtbus_schema_object(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    rtbus_json_member_t *keywords, const rtbus_schema_path_t *path)
{
    int                     rc;
    size_t                  i, n;
    rtbus_json_value_t     *properties, *required;
    rtbus_json_member_t    *additional;
    rtbus_schema_path_t     member;
    rtbus_schema_member_t  *elts;

    properties = &keywords[RTBUS_SCHEMA_K_PROPERTIES].value;
    required = &keywords[RTBUS_SCHEMA_K_REQUIRED].value;
    additional = &keywords[RTBUS_SCHEMA_K_ADDITIONAL];

    if (properties->type != RTBUS_JSON_NONE
        && properties->type != RTBUS_JSON_OBJECT)
    {
        return rtbus_schema_error(c, path, properties->raw.data,
                                  "properties is not an object", NULL);
    }

    if (required->type != RTBUS_JSON_NONE
        && required->type != RTBUS_JSON_ARRAY)
    {
        return rtbus_schema_error(c, path, required->raw.data,
                                  "required is not an array of names", NULL);
    }

    n = rtbus_schema_count(properties) / 2 + rtbus_schema_count(required);

    if (n) {
        node->members.elts = rtbus_schema_alloc(c->schema, n * sizeof(*elts));
        if (node->members.elts == NULL) {
            return RTBUS_NOMEM;
        }
    }

    rc = rtbus_schema_properties(c, node, properties, path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    rc = rtbus_schema_required(c, node, required, path);
    if (rc != RTBUS_OK) {
        return rc;
    }

    if (additional->value.type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    member.up = path;
    member.name.data = (uint8_t *) additional->name;
    member.name.len = additional->len;

    rc = rtbus_schema_node(c, &node->additional, &additional->value, &member);
    if (rc != RTBUS_OK) {
        return rc;
    }

    if (node->additional != &rtbus_schema_none) {
        return RTBUS_OK;
    }

    elts = node->members.elts;

    for (i = 0; i < node->members.n; i++) {
        if (elts[i].node == NULL) {
            return rtbus_schema_error(c, path, elts[i].raw.data,
                                      "required and not among properties:",
                                      &elts[i].raw);
        }
    }

    return RTBUS_OK;
}


static int
rtbus_schema_properties(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int                     rc;
    const uint8_t          *pos;
    rtbus_json_value_t      key, schema;
    rtbus_schema_path_t     member;
    rtbus_schema_member_t  *elt;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    pos = NULL;

    while (rtbus_json_next(&key, &pos, &value->raw) == RTBUS_OK) {

        (void) rtbus_json_next(&schema, &pos, &value->raw);

        elt = &node->members.elts[node->members.n++];

        elt->bit = -1;
        elt->raw.data = key.raw.data + 1;
        elt->raw.len = key.raw.len - 2;

        rc = rtbus_schema_string(c, &elt->name, &key.raw, path);
        if (rc != RTBUS_OK) {
            return rc;
        }

        member.up = path;
        member.name = elt->raw;

        rc = rtbus_schema_node(c, &elt->node, &schema, &member);
        if (rc != RTBUS_OK) {
            return rc;
        }
    }

    return rtbus_schema_sort(c, &node->members, path);
}


static int
rtbus_schema_required(rtbus_schema_compiler_t *c, rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path)
{
    int                      rc;
    size_t                   n;
    rtbus_str_t              name;
    const uint8_t           *pos;
    rtbus_json_value_t       element;
    rtbus_schema_member_t   *elt;
    rtbus_schema_members_t   named;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    named = node->members;
    pos = NULL;

    for (n = 0;
         rtbus_json_next(&element, &pos, &value->raw) == RTBUS_OK;
         n++)
    {
        if (element.type != RTBUS_JSON_STRING) {
            return rtbus_schema_error(c, path, element.raw.data,
                                      "required is not an array of names",
                                      NULL);
        }

        if (n == RTBUS_SCHEMA_REQUIRED) {
            return rtbus_schema_error(c, path, element.raw.data,
                                      "more than 256 names are required",
                                      NULL);
        }

        rc = rtbus_schema_string(c, &name, &element.raw, path);
        if (rc != RTBUS_OK) {
            return rc;
        }

        elt = rtbus_schema_find(&named, &name);

        if (elt == NULL) {
            elt = &node->members.elts[node->members.n++];

            elt->bit = -1;
            elt->name = name;
            elt->raw.data = element.raw.data + 1;
            elt->raw.len = element.raw.len - 2;
        }

        if (elt->bit >= 0) {
            return rtbus_schema_error(c, path, element.raw.data,
                                      "required twice:", &elt->raw);
        }

        elt->bit = n;
    }

    node->nrequired = n;

    return rtbus_schema_sort(c, &node->members, path);
}


static int
rtbus_schema_sort(rtbus_schema_compiler_t *c, rtbus_schema_members_t *members,
    const rtbus_schema_path_t *path)
{
    size_t                  i;
    rtbus_schema_member_t  *elts;

    elts = members->elts;

    if (members->n > 1) {
        qsort(elts, members->n, sizeof(rtbus_schema_member_t),
              rtbus_schema_cmp);
    }

    for (i = 1; i < members->n; i++) {

        if (rtbus_schema_cmp(&elts[i - 1], &elts[i]) == 0) {

            if (elts[i].raw.data < elts[i - 1].raw.data) {
                i--;
            }

            return rtbus_schema_error(c, path, elts[i].raw.data,
                                      "duplicate name", &elts[i].raw);
        }
    }

    return RTBUS_OK;
}


/* a name or a value of enum, decoded */

static int
rtbus_schema_string(rtbus_schema_compiler_t *c, rtbus_str_t *dst,
    const rtbus_str_t *raw, const rtbus_schema_path_t *path)
{
    dst->len = rtbus_json_unquote(NULL, raw);

    if (dst->len > RTBUS_SCHEMA_NAME_MAX) {
        return rtbus_schema_error(c, path, raw->data,
                                  "a string is longer than 128 bytes", NULL);
    }

    dst->data = rtbus_schema_alloc(c->schema, dst->len + 1);
    if (dst->data == NULL) {
        return RTBUS_NOMEM;
    }

    (void) rtbus_json_unquote(dst->data, raw);

    return RTBUS_OK;
}


/* of an array the elements, of an object names and values, else 0 */

static size_t
rtbus_schema_count(const rtbus_json_value_t *value)
{
    size_t               n;
    const uint8_t       *pos;
    rtbus_json_value_t   element;

    n = 0;

    if (value->type == RTBUS_JSON_OBJECT || value->type == RTBUS_JSON_ARRAY) {
        pos = NULL;

        while (rtbus_json_next(&element, &pos, &value->raw) == RTBUS_OK) {
            n++;
        }
    }

    return n;
}


/* zeroed */

static void *
rtbus_schema_alloc(rtbus_schema_t *schema, size_t size)
{
    rtbus_schema_block_t  *block;

    block = calloc(1, offsetof(rtbus_schema_block_t, data) + size);
    if (block == NULL) {
        return NULL;
    }

    block->next = schema->blocks;
    schema->blocks = block;

    return block->data;
}


static int
rtbus_schema_error(rtbus_schema_compiler_t *c, const rtbus_schema_path_t *path,
    const uint8_t *at, const char *reason, const rtbus_str_t *quoted)
{
    size_t                line;
    const uint8_t        *p;
    rtbus_schema_text_t   t;
    char                  prefix[32], text[RTBUS_SCHEMA_REASON];

    prefix[0] = '\0';

    if (at) {
        line = 1;

        for (p = c->text; p < at; p++) {
            line += (*p == '\n');
        }

        (void) snprintf(prefix, sizeof(prefix), "line %zu: ", line);
    }

    if (quoted) {
        t.p = text;
        t.last = text + RTBUS_SCHEMA_REASON - 2;
        t.cut = 0;

        rtbus_schema_put(&t, reason, strlen(reason));
        rtbus_schema_put(&t, " \"", 2);

        if (t.last - t.p > RTBUS_SCHEMA_QUOTED) {
            t.last = t.p + RTBUS_SCHEMA_QUOTED;
        }

        rtbus_schema_put(&t, quoted->data, quoted->len);

        *t.p++ = '"';
        *t.p = '\0';

        reason = text;
    }

    rtbus_schema_write(c->err, prefix, c->event.len ? &c->event : NULL, path,
                       path ? ": " : "", reason);

    return RTBUS_ERROR;
}


static int
rtbus_schema_walk(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err)
{
    rtbus_schema_number_t  number;

    if (!(node->types & rtbus_schema_types(value))) {
        return rtbus_schema_bad_type(node, path, err);
    }

    if (node->nvalues && !rtbus_schema_listed(node, value)) {
        rtbus_schema_write(err, "", NULL, path, " ",
                           "is not one of the values listed");
        return RTBUS_ERROR;
    }

    switch (value->type) {

    case RTBUS_JSON_NUMBER:

        if (node->minimum == NULL && node->maximum == NULL) {
            return RTBUS_OK;
        }

        rtbus_schema_number(&number, &value->raw);

        if (node->minimum
            && rtbus_schema_number_cmp(&number, &node->minimum->number) < 0)
        {
            return rtbus_schema_bad_number("is less than", node->minimum, path,
                                           err);
        }

        if (node->maximum
            && rtbus_schema_number_cmp(&number, &node->maximum->number) > 0)
        {
            return rtbus_schema_bad_number("is greater than", node->maximum,
                                           path, err);
        }

        return RTBUS_OK;

    case RTBUS_JSON_OBJECT:

        if (node->members.n == 0 && node->additional == NULL) {
            return RTBUS_OK;
        }

        return rtbus_schema_walk_object(node, value, path, err);

    case RTBUS_JSON_ARRAY:

        if (node->items == NULL) {
            return RTBUS_OK;
        }

        return rtbus_schema_walk_array(node, value, path, err);

    default:
        return RTBUS_OK;
    }
}


static int
rtbus_schema_walk_object(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err)
{
    size_t                      n;
    rtbus_str_t                 name;
    const uint8_t              *pos;
    rtbus_json_value_t          key, inner;
    rtbus_schema_path_t         member;
    rtbus_schema_member_t      *elt;
    const rtbus_schema_node_t  *schema;
    uint32_t                    seen[RTBUS_SCHEMA_REQUIRED / 32];
    uint8_t                     buf[RTBUS_SCHEMA_NAME_MAX];

    memset(seen, 0, sizeof(seen));

    pos = NULL;

    while (rtbus_json_next(&key, &pos, &value->raw) == RTBUS_OK) {

        (void) rtbus_json_next(&inner, &pos, &value->raw);

        elt = NULL;

        if (rtbus_schema_decode(&name, &key.raw, buf) == RTBUS_OK) {
            elt = rtbus_schema_find(&node->members, &name);
        }

        schema = node->additional;

        if (elt) {

            if (elt->bit >= 0) {
                seen[elt->bit / 32] |= 1u << elt->bit % 32;
            }

            if (elt->node) {
                schema = elt->node;
            }
        }

        if (schema == NULL) {
            continue;
        }

        member.up = path;
        member.name.data = key.raw.data + 1;
        member.name.len = key.raw.len - 2;

        if (rtbus_schema_walk(schema, &inner, &member, err) != RTBUS_OK) {
            return RTBUS_ERROR;
        }
    }

    for (n = 0; n < node->nrequired; n++) {
        if (!(seen[n / 32] & 1u << n % 32)) {
            return rtbus_schema_missing(node, n, path, err);
        }
    }

    return RTBUS_OK;
}


static int
rtbus_schema_walk_array(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err)
{
    const uint8_t        *pos;
    rtbus_json_value_t    inner;
    rtbus_schema_path_t   element;

    element.up = path;
    element.name.data = NULL;
    element.name.len = 0;
    element.index = 0;

    pos = NULL;

    while (rtbus_json_next(&inner, &pos, &value->raw) == RTBUS_OK) {

        if (rtbus_schema_walk(node->items, &inner, &element, err)
            != RTBUS_OK)
        {
            return RTBUS_ERROR;
        }

        element.index++;
    }

    return RTBUS_OK;
}


/* all that the value is: 1 is a number and an integer */

static unsigned
rtbus_schema_types(const rtbus_json_value_t *value)
{
    rtbus_schema_number_t  n;

    switch (value->type) {

    case RTBUS_JSON_NULL:
        return RTBUS_SCHEMA_NULL;

    case RTBUS_JSON_BOOL:
        return RTBUS_SCHEMA_BOOL;

    case RTBUS_JSON_STRING:
        return RTBUS_SCHEMA_STRING;

    case RTBUS_JSON_OBJECT:
        return RTBUS_SCHEMA_OBJECT;

    case RTBUS_JSON_ARRAY:
        return RTBUS_SCHEMA_ARRAY;

    default: /* RTBUS_JSON_NUMBER */

        rtbus_schema_number(&n, &value->raw);

        if (n.sign == 0 || n.exp + 1 >= (int64_t) n.digits) {
            return RTBUS_SCHEMA_NUM|RTBUS_SCHEMA_INT;
        }

        return RTBUS_SCHEMA_NUM;
    }
}


static int
rtbus_schema_listed(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value)
{
    size_t                  i;
    rtbus_str_t             text;
    rtbus_schema_value_t   *v;
    rtbus_schema_number_t   number;
    uint8_t                 buf[RTBUS_SCHEMA_NAME_MAX];

    text = value->raw;

    switch (value->type) {

    case RTBUS_JSON_STRING:

        if (rtbus_schema_decode(&text, &value->raw, buf) != RTBUS_OK) {
            return 0;
        }

        break;

    case RTBUS_JSON_NUMBER:
        rtbus_schema_number(&number, &value->raw);
        break;

    default:
        break;
    }

    for (i = 0; i < node->nvalues; i++) {
        v = &node->values[i];

        if (v->type != value->type) {
            continue;
        }

        if (v->type == RTBUS_JSON_NUMBER) {

            if (rtbus_schema_number_cmp(&v->number, &number) == 0) {
                return 1;
            }

            continue;
        }

        if (v->text.len == text.len
            && memcmp(v->text.data, text.data, text.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* "is not a string, an array or null" */

static int
rtbus_schema_bad_type(const rtbus_schema_node_t *node,
    const rtbus_schema_path_t *path, char *err)
{
    int                   i;
    unsigned              left;
    const char           *before;
    rtbus_schema_text_t   t;
    char                  reason[RTBUS_SCHEMA_REASON];

    if (node->types == 0) {
        rtbus_schema_write(err, "", NULL, path, " ", "is not allowed");
        return RTBUS_ERROR;
    }

    t.p = reason;
    t.last = reason + sizeof(reason) - 1;
    t.cut = 0;

    left = node->types;
    before = "is not ";

    for (i = 0; rtbus_schema_type_names[i].name; i++) {

        if (!(left & rtbus_schema_type_names[i].bit)) {
            continue;
        }

        left &= ~rtbus_schema_type_names[i].bit;

        rtbus_schema_put(&t, before, strlen(before));
        rtbus_schema_put(&t, rtbus_schema_type_names[i].words,
                         strlen(rtbus_schema_type_names[i].words));

        before = (left & (left - 1)) ? ", " : " or ";
    }

    *t.p = '\0';

    rtbus_schema_write(err, "", NULL, path, " ", reason);

    return RTBUS_ERROR;
}


static int
rtbus_schema_bad_number(const char *reason, const rtbus_schema_value_t *bound,
    const rtbus_schema_path_t *path, char *err)
{
    char  text[RTBUS_SCHEMA_REASON];

    (void) snprintf(text, sizeof(text), "%s %.*s", reason,
                    (int) bound->text.len, (const char *) bound->text.data);

    rtbus_schema_write(err, "", NULL, path, " ", text);

    return RTBUS_ERROR;
}


static int
rtbus_schema_missing(const rtbus_schema_node_t *node, int bit,
    const rtbus_schema_path_t *path, char *err)
{
    size_t                  i;
    rtbus_schema_path_t     member;
    rtbus_schema_member_t  *elts;

    elts = node->members.elts;

    for (i = 0; elts[i].bit != bit; i++) {
        /* void */
    }

    member.up = path;
    member.name = elts[i].raw;

    rtbus_schema_write(err, "", NULL, &member, " ", "is missing");

    return RTBUS_ERROR;
}


/* RTBUS_ERROR: it is longer than anything that the schema could know */

static int
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


static rtbus_schema_member_t *
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


static int
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

static void
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


static int
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


static void
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

static void
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
