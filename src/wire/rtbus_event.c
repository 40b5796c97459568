
/*
 * The envelope of a job event.
 */


#include <string.h>

#include "rtbus_event.h"


/* the indices of the table in rtbus_event_parse() */

typedef enum {
    RTBUS_EVENT_NAME = 0,
    RTBUS_EVENT_DATA,
    RTBUS_EVENT_ARGS,
    RTBUS_EVENT_ATTACHMENTS,
    RTBUS_EVENT_ID,
    RTBUS_EVENT_TIMESTAMP,
    RTBUS_EVENT_MEMBERS
} rtbus_event_member_e;


#define rtbus_event_string(s)  { sizeof(s) - 1, (uint8_t *) s }

/* a Socket.IO client takes an event of such a name for a broken connection */

static const rtbus_str_t  rtbus_event_reserved[] = {
    rtbus_event_string("connect"),
    rtbus_event_string("connect_error"),
    rtbus_event_string("disconnect"),
    rtbus_event_string("disconnecting"),
    rtbus_event_string("newListener"),
    rtbus_event_string("removeListener")
};


static int rtbus_event_pos(rtbus_event_t *ev,
    const rtbus_json_value_t *value);
static int rtbus_event_timestamp(rtbus_event_t *ev,
    const rtbus_json_value_t *value);


int
rtbus_event_parse(rtbus_json_t *json, rtbus_event_t *ev, const uint8_t *p,
    size_t len, const char **reason)
{
    int                   rc, i;
    rtbus_json_value_t   *value;
    rtbus_json_member_t   members[RTBUS_EVENT_MEMBERS] = {
        rtbus_json_member("event"),
        rtbus_json_member("data"),
        rtbus_json_member("args"),
        rtbus_json_member("attachments"),
        rtbus_json_member("id"),
        rtbus_json_member("timestamp")
    };

    rc = rtbus_json_object(json, p, len, members, RTBUS_EVENT_MEMBERS, reason);
    if (rc != RTBUS_OK) {
        return rc;
    }

    /* some producers write out what they do not have */

    for (i = RTBUS_EVENT_ARGS; i < RTBUS_EVENT_MEMBERS; i++) {
        value = &members[i].value;

        if (value->type == RTBUS_JSON_NULL) {
            value->type = RTBUS_JSON_NONE;
            value->raw.len = 0;
        }
    }

    value = &members[RTBUS_EVENT_DATA].value;

    if (value->type == RTBUS_JSON_NULL && members[RTBUS_EVENT_ARGS].value.type)
    {
        value->raw.len = 0;
    }

    value = &members[RTBUS_EVENT_NAME].value;

    if (rtbus_event_name(ev, &value->raw, reason) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    ev->data = members[RTBUS_EVENT_DATA].value.raw;

    value = &members[RTBUS_EVENT_ARGS].value;

    if (value->type != RTBUS_JSON_NONE && value->type != RTBUS_JSON_ARRAY) {
        *reason = "args is not an array";
        return RTBUS_ERROR;
    }

    if (value->type == RTBUS_JSON_ARRAY && ev->data.len) {
        *reason = "both data and args";
        return RTBUS_ERROR;
    }

    ev->args = value->raw;

    value = &members[RTBUS_EVENT_ATTACHMENTS].value;

    if (value->type != RTBUS_JSON_NONE && !rtbus_event_strings(value)) {
        *reason = "attachments is not an array of strings";
        return RTBUS_ERROR;
    }

    ev->attachments = value->raw;

    if (rtbus_event_pos(ev, &members[RTBUS_EVENT_ID].value) != RTBUS_OK) {
        *reason = "bad id";
        return RTBUS_ERROR;
    }

    if (rtbus_event_timestamp(ev, &members[RTBUS_EVENT_TIMESTAMP].value)
        != RTBUS_OK)
    {
        *reason = "bad timestamp";
        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


int
rtbus_event_name(rtbus_event_t *ev, const rtbus_str_t *raw,
    const char **reason)
{
    size_t  i, len;

    if (raw->len == 0) {
        *reason = "no event name";
        return RTBUS_ERROR;
    }

    if (raw->data[0] != '"') {
        *reason = "event name is not a string";
        return RTBUS_ERROR;
    }

    if (memchr(raw->data, '\\', raw->len) == NULL) {
        ev->name.data = raw->data + 1;
        len = raw->len - 2;

    } else {
        ev->name.data = ev->name_buf;
        len = rtbus_json_unquote(NULL, raw);
    }

    if (len == 0) {
        *reason = "no event name";
        return RTBUS_ERROR;
    }

    if (len > RTBUS_EVENT_NAME_MAX) {
        *reason = "event name too long";
        return RTBUS_ERROR;
    }

    if (ev->name.data == ev->name_buf) {
        (void) rtbus_json_unquote(ev->name_buf, raw);
    }

    for (i = 0; i < len; i++) {
        if (ev->name.data[i] < 0x20 || ev->name.data[i] == 0x7f) {
            *reason = "control character in event name";
            return RTBUS_ERROR;
        }
    }

    ev->name.len = len;

    for (i = 0; i < sizeof(rtbus_event_reserved) / sizeof(rtbus_str_t); i++) {
        if (rtbus_event_reserved[i].len == len
            && memcmp(rtbus_event_reserved[i].data, ev->name.data, len) == 0)
        {
            *reason = "reserved event name";
            return RTBUS_ERROR;
        }
    }

    ev->name_json = *raw;

    return RTBUS_OK;
}


int
rtbus_event_strings(const rtbus_json_value_t *value)
{
    const uint8_t       *pos;
    rtbus_json_value_t   element;

    if (value->type != RTBUS_JSON_ARRAY) {
        return 0;
    }

    pos = NULL;

    while (rtbus_json_next(&element, &pos, &value->raw) == RTBUS_OK) {
        if (element.type != RTBUS_JSON_STRING) {
            return 0;
        }
    }

    return 1;
}


static int
rtbus_event_pos(rtbus_event_t *ev, const rtbus_json_value_t *value)
{
    size_t          len;
    uint8_t         buf[RTBUS_POSITION_MAX];
    const uint8_t  *p;

    ev->pos.epoch = 0;
    ev->pos.seq = 0;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    if (value->type != RTBUS_JSON_STRING) {
        return RTBUS_ERROR;
    }

    p = value->raw.data + 1;
    len = value->raw.len - 2;

    if (memchr(p, '\\', len)) {

        if (rtbus_json_unquote(NULL, &value->raw) > sizeof(buf)) {
            return RTBUS_ERROR;
        }

        len = rtbus_json_unquote(buf, &value->raw);
        p = buf;
    }

    if (rtbus_pos_parse(&ev->pos, p, len) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    /* no event stands at 0-0, which would make a live event out of it */

    if (ev->pos.epoch == 0 && ev->pos.seq == 0) {
        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


/* a clock read as floating point gives "1732300000123.45" */

static int
rtbus_event_timestamp(rtbus_event_t *ev, const rtbus_json_value_t *value)
{
    size_t       i;
    rtbus_str_t  whole;

    ev->timestamp = 0;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    whole = value->raw;

    for (i = 0; i < value->raw.len; i++) {

        switch (value->raw.data[i]) {

        case '.':
            whole.len = i;
            break;

        case 'e':
        case 'E':
            return RTBUS_ERROR;
        }
    }

    return rtbus_json_uint(&whole, &ev->timestamp);
}
