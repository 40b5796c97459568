
/*
 * The envelope of a job event on a Redis pub/sub channel: a JSON object
 *
 *   {"event":"model:chunk:v1","data":{...},"id":"1732300000000-7",
 *    "timestamp":1732300000123}
 *
 * event        required, string of 1-128 bytes (decoded), no control bytes: SSE
 *              could not carry a line feed in it; none of the names that
 *              Socket.IO keeps for itself ("connect", "disconnect", ...)
 * data         any JSON, passed on byte for byte; "null" when absent
 * args         an array in place of data (several arguments)
 * attachments  an array of base64 strings, see rtbus_attachments.h
 * id           position of a durable event, a string; not "0-0"
 * timestamp    ms since 1970, a number; a fraction is dropped
 *
 * and, in durable events only,
 *
 * end          it is the last one of its job: what became of that, a string
 * capture      beside end: the event is no other's than the capture's; its
 *              format, a string
 * text         1: data is a string that stands for text that was no JSON
 * name         a string: how the event is called by its source; without it
 *              that is event, and nothing for "message"
 *
 * All but event and data may also be null, which is as good as absent, and so is
 * null data beside args.  Other members are ignored.  The nesting allowed is the
 * one that the parser was created with.
 */


#ifndef _RTBUS_EVENT_H_INCLUDED_
#define _RTBUS_EVENT_H_INCLUDED_


#include "rtbus_wire.h"
#include "rtbus_cursor.h"
#include "rtbus_json.h"


#define RTBUS_EVENT_NAME_MAX  128
#define RTBUS_EVENT_DEPTH     64      /* for rtbus_json_create() */


typedef struct {
    rtbus_str_t    name;          /* decoded; in the input or in name_buf */
    rtbus_str_t    name_json;     /* as it stands, in quotes */
    rtbus_str_t    data;          /* raw JSON; len 0: absent */
    rtbus_str_t    args;          /* raw JSON array; len 0: absent */
    rtbus_str_t    attachments;   /* raw JSON array of strings; len 0: absent */
    rtbus_pos_t    pos;           /* 0-0: a live event */
    uint64_t       timestamp;     /* 0: absent */
    rtbus_str_t    bytes;         /* what data was made of, if that is known;
                                     data NULL: data itself */
    rtbus_str_t    source;        /* name of the source; data NULL: absent */
    rtbus_str_t    end;           /* data NULL: absent */
    rtbus_str_t    capture;       /* likewise */
    unsigned       text:1;        /* data stands for text */
    unsigned       quoted:1;      /* source, end and capture are JSON */
    uint8_t        name_buf[RTBUS_EVENT_NAME_MAX];
} rtbus_event_t;


/*
 * Parses one envelope.  All slices point into p (name may point into
 * name_buf, so an rtbus_event_t must not be copied by value).
 *
 * RTBUS_OK, or RTBUS_ERROR with *reason: one of rtbus_json_object(), of names,
 * _ID, _TIMESTAMP, _ARGS, _DATA_AND_ARGS, or one of rtbus_attachments_check().
 */

int rtbus_event_parse(rtbus_json_t *json, rtbus_event_t *ev, const uint8_t *p,
    size_t len, rtbus_reason_e *reason);

/*
 * A name alone, as a string slice of checked JSON: sets name and name_json.
 * RTBUS_OK, or RTBUS_ERROR with *reason as above.
 */

int rtbus_event_name(rtbus_event_t *ev, const rtbus_str_t *raw,
    rtbus_reason_e *reason);

/* is it a name that Socket.IO keeps for itself: 1 or 0 */

int rtbus_event_is_reserved(const rtbus_str_t *name);


#endif /* _RTBUS_EVENT_H_INCLUDED_ */
