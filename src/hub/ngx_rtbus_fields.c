
#include "ngx_rtbus_fields.h"
#include "rtbus_attachments.h"
#include "rtbus_utf8.h"


static size_t ngx_rtbus_fields_size(rtbus_event_t *event, rtbus_pos_t pos);
static rtbus_reason_e ngx_rtbus_fields_text(ngx_rtbus_hub_t *hub,
    rtbus_event_t *event, redisReply *v, u_char **text);
static rtbus_str_t *ngx_rtbus_fields_mark(rtbus_event_t *event,
    redisReply *f);


rtbus_reason_e
ngx_rtbus_fields_parse(ngx_rtbus_hub_t *hub, rtbus_event_t *event,
    redisReply *fields, u_char *name, u_char **text,
    rtbus_pos_t pos, ngx_uint_t *lost)
{
    size_t               i, n;
    rtbus_str_t          raw, *slice;
    rtbus_reason_e       reason;
    redisReply          *f, *v;
    rtbus_json_type_e    type;
    rtbus_json_value_t   value;

    ngx_memzero(event, offsetof(rtbus_event_t, name_buf));

    if (fields->type != REDIS_REPLY_ARRAY) {
        return RTBUS_REASON_ENTRY;
    }

    raw.len = 0;

    for (i = 0; i + 1 < fields->elements; i += 2) {
        f = fields->element[i];
        v = fields->element[i + 1];

        if (f->type != REDIS_REPLY_STRING || v->type != REDIS_REPLY_STRING) {
            return RTBUS_REASON_ENTRY;
        }

        if (f->len == 5 && ngx_strncmp(f->str, "event", 5) == 0) {

            if (v->len > RTBUS_EVENT_NAME_MAX) {
                return RTBUS_REASON_NAME_LONG;
            }

            if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, (u_char *) v->str, v->len)
                != RTBUS_UTF8_ACCEPT)
            {
                return RTBUS_REASON_UTF8;
            }

            raw.data = name;
            raw.len = rtbus_json_quote(name, (u_char *) v->str, v->len);

            continue;
        }

        if (f->len == 4 && ngx_strncmp(f->str, "data", 4) == 0) {
            slice = &event->data;
            type = RTBUS_JSON_NONE;

        } else if (f->len == 4 && ngx_strncmp(f->str, "args", 4) == 0) {
            slice = &event->args;
            type = RTBUS_JSON_ARRAY;

        } else if (f->len == 11
                   && ngx_strncmp(f->str, "attachments", 11) == 0)
        {
            slice = &event->attachments;
            type = RTBUS_JSON_ARRAY;

        } else if (f->len == 9 && ngx_strncmp(f->str, "timestamp", 9) == 0) {
            n = (size_t) ngx_atosz((u_char *) v->str, v->len);
            event->timestamp = (n == (size_t) NGX_ERROR) ? 0 : n;
            continue;

        } else if (f->len == 4 && ngx_strncmp(f->str, "text", 4) == 0) {

            reason = ngx_rtbus_fields_text(hub, event, v, text);
            if (reason) {
                return reason;
            }

            continue;

        } else {
            slice = ngx_rtbus_fields_mark(event, f);

            if (slice) {
                slice->data = (u_char *) v->str;
                slice->len = v->len;
            }

            continue;
        }

        if (v->len == 0) {
            continue;
        }

        if (rtbus_json_value(hub->json, (u_char *) v->str, v->len, &value,
                             &reason)
            != RTBUS_OK)
        {
            return reason;
        }

        if (type != RTBUS_JSON_NONE && value.type != type) {
            return RTBUS_REASON_ENTRY_ARRAYS;
        }

        *slice = value.raw;

        if (type == RTBUS_JSON_NONE) {
            event->bytes.data = (u_char *) v->str;
            event->bytes.len = v->len;
        }
    }

    if (raw.len == 0) {
        return RTBUS_REASON_NO_NAME;
    }

    if (rtbus_event_name(event, &raw, &reason) != RTBUS_OK) {
        *lost = rtbus_event_is_reserved(&event->name);
        return reason;
    }

    reason = RTBUS_REASON_NONE;

    if (ngx_rtbus_fields_size(event, pos) > hub->max_event) {
        reason = RTBUS_REASON_LONG;

    } else if (event->attachments.len) {
        reason = rtbus_attachments_check(&event->attachments,
                                         event->args.len ? &event->args
                                                         : &event->data);
    }

    *lost = (reason != RTBUS_REASON_NONE);

    return reason;
}


/* the size of the message that has told of it, as rtbus_publish writes one */

static size_t
ngx_rtbus_fields_size(rtbus_event_t *event, rtbus_pos_t pos)
{
    size_t  size;
    u_char  number[2 * NGX_INT64_LEN];

    size = sizeof("{\"event\":,\"data\":,\"id\":\"-\",\"timestamp\":}") - 1
           + event->name_json.len + event->data.len + event->args.len;

    size += ngx_sprintf(number, "%uL%uL", pos.epoch, pos.seq) - number;
    size += ngx_sprintf(number, "%uL", event->timestamp) - number;

    if (event->attachments.len) {
        size += sizeof(",\"attachments\":") - 1 + event->attachments.len;
    }

    if (event->end.len) {
        size += sizeof(",\"end\":\"\"") - 1 + event->end.len;
    }

    return size;
}


/* what is no JSON is a string of it for those who want that */

static rtbus_reason_e
ngx_rtbus_fields_text(ngx_rtbus_hub_t *hub, rtbus_event_t *event,
    redisReply *v, u_char **text)
{
    size_t  len;

    if (*text) {
        return RTBUS_REASON_ENTRY;
    }

    len = rtbus_json_quote(NULL, (u_char *) v->str, v->len);

    *text = ngx_alloc(len, hub->log);
    if (*text == NULL) {
        return RTBUS_REASON_MEMORY;
    }

    rtbus_json_quote(*text, (u_char *) v->str, v->len);

    event->data.data = *text;
    event->data.len = len;
    event->bytes.data = (u_char *) v->str;
    event->bytes.len = v->len;
    event->text = 1;

    return RTBUS_REASON_NONE;
}


static rtbus_str_t *
ngx_rtbus_fields_mark(rtbus_event_t *event, redisReply *f)
{
    if (f->len == 3 && ngx_strncmp(f->str, "end", 3) == 0) {
        return &event->end;
    }

    if (f->len == 4 && ngx_strncmp(f->str, "name", 4) == 0) {
        return &event->source;
    }

    if (f->len == 7 && ngx_strncmp(f->str, "capture", 7) == 0) {
        return &event->capture;
    }

    return NULL;
}
