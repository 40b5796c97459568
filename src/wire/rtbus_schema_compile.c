
/*
 * A file of schemas, compiled once.
 *
 * The file says how deep a walk along it goes; it is nested no deeper than an
 * event may be.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtbus_schema_node.h"


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


typedef struct {
    rtbus_schema_t              *schema;
    rtbus_json_t                *json;
    const uint8_t               *text;     /* the schema's own copy */
    rtbus_str_t                  event;    /* raw; len 0: none */
    char                        *err;
} rtbus_schema_compiler_t;


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


/* "true" and "false" in place of a schema */

static const rtbus_schema_node_t  rtbus_schema_any = {
    RTBUS_SCHEMA_ANY, NULL, 0, NULL, NULL, { NULL, 0 }, 0, NULL, NULL
};

static const rtbus_schema_node_t  rtbus_schema_none = {
    0, NULL, 0, NULL, NULL, { NULL, 0 }, 0, NULL, NULL
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


static int
rtbus_schema_compile(rtbus_schema_compiler_t *c, const rtbus_str_t *text)
{
    int                      rc;
    rtbus_reason_e           reason;
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
        return rtbus_schema_error(c, NULL, rtbus_json_failed(c->json),
                                  rtbus_reason_text(reason), NULL);
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
            return rtbus_schema_error(c, NULL, key.raw.data,
                                      rtbus_reason_text(reason), NULL);
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

        for (i = 0; rtbus_schema_types[i].name; i++) {
            if (strlen(rtbus_schema_types[i].name) == name.len
                && memcmp(rtbus_schema_types[i].name, name.data, name.len)
                   == 0)
            {
                node->types |= rtbus_schema_types[i].bit;
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
