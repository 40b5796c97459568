
/*
 * Data of an event, walked along with what its schema was compiled to.
 */


#include <stdio.h>
#include <string.h>

#include "rtbus_schema_node.h"


static int rtbus_schema_walk(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_walk_object(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_walk_array(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err);
static unsigned rtbus_schema_type_of(const rtbus_json_value_t *value);
static int rtbus_schema_listed(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value);
static int rtbus_schema_bad_type(const rtbus_schema_node_t *node,
    const rtbus_schema_path_t *path, char *err);
static int rtbus_schema_bad_number(const char *reason,
    const rtbus_schema_value_t *bound, const rtbus_schema_path_t *path,
    char *err);
static int rtbus_schema_missing(const rtbus_schema_node_t *node, int bit,
    const rtbus_schema_path_t *path, char *err);


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
rtbus_schema_walk(const rtbus_schema_node_t *node,
    const rtbus_json_value_t *value, const rtbus_schema_path_t *path,
    char *err)
{
    rtbus_schema_number_t  number;

    if (!(node->types & rtbus_schema_type_of(value))) {
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
rtbus_schema_type_of(const rtbus_json_value_t *value)
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

    for (i = 0; rtbus_schema_types[i].name; i++) {

        if (!(left & rtbus_schema_types[i].bit)) {
            continue;
        }

        left &= ~rtbus_schema_types[i].bit;

        rtbus_schema_put(&t, before, strlen(before));
        rtbus_schema_put(&t, rtbus_schema_types[i].words,
                         strlen(rtbus_schema_types[i].words));

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
