
#include "ngx_http_rtbus_hold.h"
#include "ngx_http_rtbus_name.h"


/* one channel of one client; malloc'ed */

typedef struct {
    ngx_rtbus_catcher_t       hold;       /* the first member */
    ngx_queue_t               queue;      /* holds->holds */
    ngx_http_rtbus_holds_t   *holds;
    ngx_uint_t                ready;      /* unsigned  ready:1; */
} ngx_http_rtbus_hold_t;


static void ngx_http_rtbus_hold_ready(ngx_rtbus_sub_t *sub);
static ngx_rtbus_sub_t *ngx_http_rtbus_hold_other(ngx_rtbus_sub_t *sub,
    ngx_rtbus_channel_t *ch);
static ngx_http_rtbus_hold_t *ngx_http_rtbus_hold_find(
    ngx_http_rtbus_holds_t *holds, const ngx_rtbus_format_t *format,
    ngx_rtbus_channel_t *ch);


/* it is held, patient and not owned: the others are not called */

static const ngx_rtbus_sub_handlers_t  ngx_http_rtbus_hold_handlers = {
    NULL,                                  /* deliver */
    NULL,                                  /* gap */
    NULL,                                  /* room */
    ngx_http_rtbus_hold_ready,
    NULL,                                  /* joined */
    NULL,                                  /* failed */
    NULL,                                  /* user */
    NULL,                                  /* refused */
    ngx_http_rtbus_hold_other
};


void
ngx_http_rtbus_holds_init(ngx_http_rtbus_holds_t *holds, ngx_rtbus_hub_t *hub,
    size_t room, ngx_log_t *log)
{
    ngx_queue_init(&holds->holds);

    holds->hub = hub;
    holds->room = room;
    holds->log = log;
}


void
ngx_http_rtbus_holds_free(ngx_http_rtbus_holds_t *holds)
{
    ngx_queue_t            *q;
    ngx_http_rtbus_hold_t  *h;

    while (!ngx_queue_empty(&holds->holds)) {
        q = ngx_queue_head(&holds->holds);
        h = ngx_queue_data(q, ngx_http_rtbus_hold_t, queue);

        ngx_rtbus_hub_leave(&h->hold.sub);

        ngx_queue_remove(q);
        ngx_free(h);
    }
}


ngx_int_t
ngx_http_rtbus_holds_add(ngx_http_rtbus_holds_t *holds,
    const ngx_rtbus_format_t *format, rtbus_json_value_t *channel)
{
    ngx_int_t               rc;
    ngx_str_t               name;
    ngx_http_rtbus_hold_t  *h;
    u_char                  buf[RTBUS_CHANNEL_MAX];

    if (ngx_http_rtbus_name_json(channel, buf, &name) != NGX_OK) {
        return NGX_ERROR;
    }

    h = ngx_calloc(sizeof(ngx_http_rtbus_hold_t), holds->log);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->holds = holds;
    h->hold.room = &holds->room;

    h->hold.sub.handlers = &ngx_http_rtbus_hold_handlers;
    h->hold.sub.format = format;
    h->hold.sub.data = h;
    h->hold.sub.patient = 1;
    h->hold.sub.held = 1;
    h->hold.sub.catcher = 1;

    rc = ngx_rtbus_hub_join(holds->hub, &h->hold.sub, &name);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_free(h);
        return NGX_ERROR;
    }

    h->ready = (rc == NGX_OK);

    ngx_queue_insert_tail(&holds->holds, &h->queue);

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_holds_wait(ngx_http_rtbus_holds_t *holds,
    void (*handler)(void *data), void *data)
{
    ngx_queue_t            *q;
    ngx_http_rtbus_hold_t  *h;

    for (q = ngx_queue_head(&holds->holds);
         q != ngx_queue_sentinel(&holds->holds);
         q = ngx_queue_next(q))
    {
        h = ngx_queue_data(q, ngx_http_rtbus_hold_t, queue);

        if (!h->ready) {
            holds->handler = handler;
            holds->data = data;

            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_hold_ready(ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_hold_t  *h = sub->data;

    ngx_http_rtbus_holds_t  *holds;

    h->ready = 1;

    holds = h->holds;

    if (holds->handler
        && ngx_http_rtbus_holds_wait(holds, holds->handler, holds->data)
           == NGX_OK)
    {
        holds->handler(holds->data);
    }
}


void
ngx_http_rtbus_holds_begin(ngx_http_rtbus_holds_t *holds)
{
    ngx_queue_t            *q;
    ngx_http_rtbus_hold_t  *h;

    for (q = ngx_queue_head(&holds->holds);
         q != ngx_queue_sentinel(&holds->holds);
         q = ngx_queue_next(q))
    {
        h = ngx_queue_data(q, ngx_http_rtbus_hold_t, queue);

        ngx_rtbus_hub_catch(&h->hold);
    }
}


void
ngx_http_rtbus_holds_take(ngx_http_rtbus_holds_t *holds, ngx_rtbus_sub_t *sub)
{
    ngx_http_rtbus_hold_t  *h;

    h = ngx_http_rtbus_hold_find(holds, sub->format, sub->ch);

    if (h) {
        ngx_rtbus_hub_take(sub, &h->hold);
    }
}


static ngx_rtbus_sub_t *
ngx_http_rtbus_hold_other(ngx_rtbus_sub_t *sub, ngx_rtbus_channel_t *ch)
{
    ngx_http_rtbus_hold_t  *h = sub->data;

    h = ngx_http_rtbus_hold_find(h->holds, sub->format, ch);

    return h ? &h->hold.sub : NULL;
}


static ngx_http_rtbus_hold_t *
ngx_http_rtbus_hold_find(ngx_http_rtbus_holds_t *holds,
    const ngx_rtbus_format_t *format, ngx_rtbus_channel_t *ch)
{
    ngx_queue_t            *q;
    ngx_http_rtbus_hold_t  *h;

    for (q = ngx_queue_head(&holds->holds);
         q != ngx_queue_sentinel(&holds->holds);
         q = ngx_queue_next(q))
    {
        h = ngx_queue_data(q, ngx_http_rtbus_hold_t, queue);

        if (h->hold.sub.ch == ch && h->hold.sub.format == format) {
            return h;
        }
    }

    return NULL;
}
