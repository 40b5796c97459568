
/*
 * The envelope of a job event.
 */


#include <string.h>

#include "rtbus_event.h"
#include "rtbus_attachments.h"
#include "rtbus_number.h"


/* the indices of the table in rtbus_event_parse() */

typedef enum {
    RTBUS_EVENT_NAME = 0,
    RTBUS_EVENT_DATA,
    RTBUS_EVENT_ARGS,
    RTBUS_EVENT_ATTACHMENTS,
    RTBUS_EVENT_ID,
    RTBUS_EVENT_TIMESTAMP,
    RTBUS_EVENT_END,
    RTBUS_EVENT_CAPTURE,
    RTBUS_EVENT_TEXT,
    RTBUS_EVENT_SOURCE,
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


static int rtbus_event_is_plain(const rtbus_str_t *raw);
static int rtbus_event_pos(rtbus_event_t *ev,
    const rtbus_json_value_t *value);
static int rtbus_event_timestamp(rtbus_event_t *ev,
    const rtbus_json_value_t *value);
static void rtbus_event_job(rtbus_event_t *ev,
    const rtbus_json_member_t *members);


int
rtbus_event_parse(rtbus_json_t *json, rtbus_event_t *ev, const uint8_t *p,
    size_t len, rtbus_reason_e *reason)
{
    int                   rc, i;
    rtbus_json_value_t   *value;
    rtbus_json_member_t   members[RTBUS_EVENT_MEMBERS] = {
        rtbus_json_member("event"),
        rtbus_json_member("data"),
        rtbus_json_member("args"),
        rtbus_json_member("attachments"),
        rtbus_json_member("id"),
        rtbus_json_member("timestamp"),
        rtbus_json_member("end"),
        rtbus_json_member("capture"),
        rtbus_json_member("text"),
        rtbus_json_member("name")
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
        *reason = RTBUS_REASON_ARGS;
        return RTBUS_ERROR;
    }

    if (value->type == RTBUS_JSON_ARRAY && ev->data.len) {
        *reason = RTBUS_REASON_DATA_AND_ARGS;
        return RTBUS_ERROR;
    }

    ev->args = value->raw;

    value = &members[RTBUS_EVENT_ATTACHMENTS].value;

    ev->attachments = value->raw;

    if (value->type != RTBUS_JSON_NONE) {
        *reason = rtbus_attachments_check(&ev->attachments,
                                          ev->args.len ? &ev->args
                                                       : &ev->data);
        if (*reason) {
            return RTBUS_ERROR;
        }
    }

    if (rtbus_event_pos(ev, &members[RTBUS_EVENT_ID].value) != RTBUS_OK) {
        *reason = RTBUS_REASON_ID;
        return RTBUS_ERROR;
    }

    if (rtbus_event_timestamp(ev, &members[RTBUS_EVENT_TIMESTAMP].value)
        != RTBUS_OK)
    {
        *reason = RTBUS_REASON_TIMESTAMP;
        return RTBUS_ERROR;
    }

    rtbus_event_job(ev, members);

    return RTBUS_OK;
}


/* of a live event they are no more than members that nobody knows */

static void
rtbus_event_job(rtbus_event_t *ev, const rtbus_json_member_t *members)
{
    size_t                     i;
    rtbus_str_t               *slice[3];
    const rtbus_json_value_t  *value;
    static const int           index[] = { RTBUS_EVENT_END,
                                           RTBUS_EVENT_CAPTURE,
                                           RTBUS_EVENT_SOURCE };

    slice[0] = &ev->end;
    slice[1] = &ev->capture;
    slice[2] = &ev->source;

    ev->bytes.len = 0;
    ev->bytes.data = NULL;
    ev->text = 0;
    ev->quoted = 1;

    for (i = 0; i < 3; i++) {
        value = &members[index[i]].value;

        if (value->type == RTBUS_JSON_STRING && ev->pos.epoch) {
            *slice[i] = value->raw;

        } else {
            slice[i]->len = 0;
            slice[i]->data = NULL;
        }
    }

    value = &members[RTBUS_EVENT_TEXT].value;

    if (value->type == RTBUS_JSON_NUMBER && ev->pos.epoch
        && ev->data.len && ev->data.data[0] == '"')
    {
        ev->text = 1;
    }
}


int
rtbus_event_name(rtbus_event_t *ev, const rtbus_str_t *raw,
    rtbus_reason_e *reason)
{
    int     plain;
    size_t  i, len;

    if (raw->len == 0) {
        *reason = RTBUS_REASON_NO_NAME;
        return RTBUS_ERROR;
    }

    if (raw->data[0] != '"') {
        *reason = RTBUS_REASON_NAME_TYPE;
        return RTBUS_ERROR;
    }

    plain = rtbus_event_is_plain(raw);

    if (plain) {
        ev->name.data = raw->data + 1;
        len = raw->len - 2;

    } else {
        ev->name.data = ev->name_buf;
        len = rtbus_json_unquote(NULL, raw);
    }

    if (len == 0) {
        *reason = RTBUS_REASON_NO_NAME;
        return RTBUS_ERROR;
    }

    if (len > RTBUS_EVENT_NAME_MAX) {
        *reason = RTBUS_REASON_NAME_LONG;
        return RTBUS_ERROR;
    }

    ev->name.len = len;

    if (!plain) {
        (void) rtbus_json_unquote(ev->name_buf, raw);

        for (i = 0; i < len; i++) {
            if (ev->name_buf[i] < 0x20 || ev->name_buf[i] == 0x7f) {
                *reason = RTBUS_REASON_NAME_CONTROL;
                return RTBUS_ERROR;
            }
        }
    }

    if (rtbus_event_is_reserved(&ev->name)) {
        *reason = RTBUS_REASON_NAME_RESERVED;
        return RTBUS_ERROR;
    }

    ev->name_json = *raw;

    return RTBUS_OK;
}


/*
 * Has the string neither escapes nor 0x7f, the one control character that may
 * stand in JSON as it is?
 */

static int
rtbus_event_is_plain(const rtbus_str_t *raw)
{
    uint64_t        word, slash, del;
    const uint8_t  *p, *last;

    p = raw->data;
    last = p + raw->len;

    while (last - p >= 8) {
        memcpy(&word, p, 8);

        slash = word ^ rtbus_eight('\\');
        del = word ^ rtbus_eight(0x7f);

        /* is a byte of them 0? */

        slash = (slash - rtbus_eight(0x01)) & ~slash;
        del = (del - rtbus_eight(0x01)) & ~del;

        if ((slash | del) & rtbus_eight(0x80)) {
            return 0;
        }

        p += 8;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p == '\\' || *p == 0x7f) {
            return 0;
        }
    }

    return 1;
}


int
rtbus_event_is_reserved(const rtbus_str_t *name)
{
    size_t              i;
    const rtbus_str_t  *reserved;

    switch (name->len ? name->data[0] : '\0') {

    case 'c':
    case 'd':
    case 'n':
    case 'r':
        break;

    default:
        return 0;
    }

    for (i = 0; i < sizeof(rtbus_event_reserved) / sizeof(rtbus_str_t); i++) {
        reserved = &rtbus_event_reserved[i];

        if (reserved->len == name->len
            && memcmp(reserved->data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static int
rtbus_event_pos(rtbus_event_t *ev, const rtbus_json_value_t *value)
{
    size_t   len;
    uint8_t  buf[RTBUS_POSITION_MAX];

    ev->pos.epoch = 0;
    ev->pos.seq = 0;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    if (value->type != RTBUS_JSON_STRING) {
        return RTBUS_ERROR;
    }

    if (rtbus_pos_parse(&ev->pos, value->raw.data + 1, value->raw.len - 2)
        != RTBUS_OK)
    {
        /* it may be one in escapes */

        len = rtbus_json_unquote(NULL, &value->raw);

        if (len > sizeof(buf)) {
            return RTBUS_ERROR;
        }

        len = rtbus_json_unquote(buf, &value->raw);

        if (rtbus_pos_parse(&ev->pos, buf, len) != RTBUS_OK) {
            return RTBUS_ERROR;
        }
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
    const uint8_t  *p, *last;

    ev->timestamp = 0;

    if (value->type == RTBUS_JSON_NONE) {
        return RTBUS_OK;
    }

    last = value->raw.data + value->raw.len;
    p = rtbus_number_parse(&ev->timestamp, value->raw.data, last);

    if (p == NULL) {
        return RTBUS_ERROR;
    }

    /* it is JSON: digits follow the point, and perhaps an exponent */

    if (p < last && *p == '.') {
        for (p++; p < last && *p >= '0' && *p <= '9'; p++) { /* void */ }
    }

    return (p == last) ? RTBUS_OK : RTBUS_ERROR;
}
