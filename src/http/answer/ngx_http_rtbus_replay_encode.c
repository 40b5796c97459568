
#include "ngx_http_rtbus_replay_encode.h"
#include "rtbus_cursor.h"
#include "rtbus_llm_format.h"
#include "rtbus_sse.h"


static ngx_rtbus_frame_t *ngx_http_rtbus_replay_encode(
    const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg);
static ngx_int_t ngx_http_rtbus_replay_source(rtbus_event_t *event,
    rtbus_str_t *name, rtbus_str_t *data, u_char **memory);
static ngx_uint_t ngx_http_rtbus_replay_mark_of(rtbus_event_t *event);
static uint64_t ngx_http_rtbus_replay_number(rtbus_event_t *event);


const ngx_rtbus_format_t  ngx_http_rtbus_replay_formats[] = {
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL },
    { ngx_http_rtbus_replay_encode, NULL }
};


static ngx_rtbus_frame_t *
ngx_http_rtbus_replay_encode(const ngx_rtbus_format_t *format,
    ngx_rtbus_msg_t *msg)
{
    u_char             *p, *memory;
    size_t              len;
    ngx_uint_t          mark;
    rtbus_str_t         name, id, data;
    rtbus_event_t      *event;
    ngx_rtbus_frame_t  *frame;
    u_char              cursor[RTBUS_CHANNEL_MAX + 1 + RTBUS_POSITION_MAX];

    event = msg->event;

    /* what is live only is no part of the answer */

    if (event->pos.epoch == 0 && event->pos.seq == 0) {
        return ngx_rtbus_frame_create(0);
    }

    mark = ngx_http_rtbus_replay_mark_of(event);

    if (mark & NGX_HTTP_RTBUS_MARK_CAPTURE) {

        frame = ngx_rtbus_frame_create(0);

        if (frame) {
            frame->payload = mark;
        }

        return frame;
    }

    if (ngx_http_rtbus_replay_source(event, &name, &data, &memory) != NGX_OK) {
        return NULL;
    }

    id.data = cursor;
    id.len = 0;

    if (format == NGX_HTTP_RTBUS_REPLAY_IDS
        || format == NGX_HTTP_RTBUS_REPLAY_COUNTED)
    {
        p = ngx_cpymem(cursor, msg->channel.data, msg->channel.len);
        *p++ = '@';
        p += rtbus_pos_write(p, msg->pos);

        id.len = p - cursor;
    }

    if (format == NGX_HTTP_RTBUS_REPLAY_LINES) {

        frame = ngx_rtbus_frame_create(data.len + 1);

        if (frame) {
            p = ngx_cpymem(frame->data, data.data, data.len);
            *p = '\n';
        }

    } else {
        frame = ngx_rtbus_frame_create(rtbus_sse_write(NULL, &name, &data,
                                                       &id, &len));

        if (frame) {
            rtbus_sse_write(frame->data, &name, &data, &id, &len);
        }
    }

    if (frame) {
        frame->payload = mark;

        if (format >= NGX_HTTP_RTBUS_REPLAY_COUNTED) {
            frame->tail = ngx_http_rtbus_replay_number(event);
        }
    }

    if (memory) {
        ngx_free(memory);
    }

    return frame;
}


/* name and data as their source had them; *memory is to be freed, or NULL */

static ngx_int_t
ngx_http_rtbus_replay_source(rtbus_event_t *event, rtbus_str_t *name,
    rtbus_str_t *data, u_char **memory)
{
    u_char  *p;

    *memory = NULL;

    if (event->source.data) {
        *name = event->source;

    } else if (event->name.len == 7
               && ngx_strncmp(event->name.data, "message", 7) == 0)
    {
        name->len = 0;
        name->data = NULL;

    } else {
        *name = event->name;
    }

    if (event->bytes.data) {
        *data = event->bytes;

    } else if (event->args.len) {
        *data = event->args;

    } else if (event->data.len) {
        *data = event->data;

    } else {
        data->data = (u_char *) "null";
        data->len = 4;
    }

    if (!event->quoted || (!event->text && event->source.data == NULL)) {
        return NGX_OK;
    }

    p = ngx_alloc(data->len + name->len + 1, ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *memory = p;

    if (event->source.data) {
        name->data = p;
        name->len = rtbus_json_unquote(p, &event->source);
        p += name->len;
    }

    if (event->text) {
        data->len = rtbus_json_unquote(p, &event->data);
        data->data = p;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_replay_mark_of(rtbus_event_t *event)
{
    ngx_uint_t   mark, n;
    rtbus_str_t  value;

    if (event->end.data == NULL) {
        return 0;
    }

    value = event->end;

    if (event->quoted) {
        value.data++;
        value.len -= 2;
    }

    n = rtbus_llm_name(rtbus_job_statuses, RTBUS_JOB_STATUSES, value.data,
                       value.len);

    mark = (n == RTBUS_JOB_RUNNING || n == RTBUS_JOB_STATUSES)
           ? RTBUS_JOB_INTERRUPTED : n;

    if (event->capture.data == NULL) {
        return mark;
    }

    value = event->capture;

    if (event->quoted) {
        value.data++;
        value.len -= 2;
    }

    n = rtbus_llm_name(rtbus_llm_names, RTBUS_LLM_FORMATS, value.data,
                       value.len);

    if (n == RTBUS_LLM_FORMATS) {
        n = RTBUS_LLM_RAW;
    }

    return mark | NGX_HTTP_RTBUS_MARK_CAPTURE
           | (n << NGX_HTTP_RTBUS_MARK_FORMAT);
}


/* sequence_number and one more; 0: the event has none */

static uint64_t
ngx_http_rtbus_replay_number(rtbus_event_t *event)
{
    uint64_t             n;
    rtbus_json_member_t  m[] = { rtbus_json_member("sequence_number") };

    if (event->text || event->data.len == 0 || event->data.data[0] != '{') {
        return 0;
    }

    rtbus_json_members(&event->data, m, 1);

    if (m[0].value.type != RTBUS_JSON_NUMBER
        || rtbus_json_uint(&m[0].value.raw, &n) != RTBUS_OK)
    {
        return 0;
    }

    return n + 1;
}
