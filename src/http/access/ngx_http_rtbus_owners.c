
#include "ngx_http_rtbus_owners.h"
#include "ngx_rtbus_owner.h"


typedef struct {
    ngx_http_rtbus_owners_t   *owners;
    ngx_http_rtbus_channel_t  *channel;
    ngx_rtbus_owner_t         *owner;      /* NULL: answered, or never asked */
} ngx_http_rtbus_question_t;


/* malloc'ed */

struct ngx_http_rtbus_owners_s {
    ngx_http_rtbus_wanted_t   *wanted;
    ngx_http_rtbus_owners_pt   handler;
    void                      *data;
    ngx_log_t                 *log;        /* the hub's */
    ngx_uint_t                 waiting;    /* for so many answers */
    ngx_uint_t                 n;
    ngx_http_rtbus_question_t  questions[1];
};


static void ngx_http_rtbus_owners_answer(void *data, ngx_int_t rc);
static ngx_int_t ngx_http_rtbus_owners_sort(ngx_http_rtbus_wanted_t *wanted,
    ngx_str_t *name);


ngx_uint_t
ngx_http_rtbus_owners_count(ngx_http_rtbus_wanted_t *wanted)
{
    ngx_uint_t                 i, n;
    ngx_http_rtbus_channel_t  *channel;

    channel = wanted->channels.elts;
    n = 0;

    for (i = 0; i < wanted->channels.nelts; i++) {
        n += channel[i].owned;
    }

    return n;
}


ngx_int_t
ngx_http_rtbus_owners_ask(ngx_rtbus_hub_t *hub, ngx_str_t *user,
    ngx_http_rtbus_wanted_t *wanted, ngx_http_rtbus_owners_t **owners,
    ngx_http_rtbus_owners_pt handler, void *data)
{
    ngx_uint_t                  i, n;
    ngx_http_rtbus_owners_t    *o;
    ngx_http_rtbus_channel_t   *channel;
    ngx_http_rtbus_question_t  *question;

    n = ngx_http_rtbus_owners_count(wanted);

    if (n == 0 || !ngx_rtbus_redis_shards_up(&hub->shards)) {
        return NGX_OK;
    }

    o = ngx_alloc(offsetof(ngx_http_rtbus_owners_t, questions)
                  + n * sizeof(ngx_http_rtbus_question_t), hub->log);
    if (o == NULL) {
        return NGX_ERROR;
    }

    o->wanted = wanted;
    o->handler = handler;
    o->data = data;
    o->log = hub->log;
    o->waiting = 0;
    o->n = n;

    question = o->questions;
    channel = wanted->channels.elts;

    for (i = 0; i < wanted->channels.nelts; i++) {

        if (!channel[i].owned) {
            continue;
        }

        question->owners = o;
        question->channel = &channel[i];
        question->owner = ngx_rtbus_owner_ask(hub, &channel[i].name, user, 0,
                                              ngx_http_rtbus_owners_answer,
                                              question);
        if (question->owner) {
            o->waiting++;
        }

        question++;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, hub->log, 0,
                   "rtbus owners of channels:%ui asked:%ui", n, o->waiting);

    if (o->waiting == 0) {
        ngx_free(o);
        return NGX_OK;
    }

    *owners = o;

    return NGX_AGAIN;
}


void
ngx_http_rtbus_owners_cancel(ngx_http_rtbus_owners_t *owners)
{
    ngx_uint_t  i;

    for (i = 0; i < owners->n; i++) {
        if (owners->questions[i].owner) {
            ngx_rtbus_owner_cancel(owners->questions[i].owner);
        }
    }

    ngx_free(owners);
}


static void
ngx_http_rtbus_owners_answer(void *data, ngx_int_t rc)
{
    ngx_http_rtbus_question_t  *question = data;

    void                      *asked;
    ngx_str_t                  name;
    ngx_http_rtbus_owners_t   *owners;
    ngx_http_rtbus_owners_pt   handler;

    owners = question->owners;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, owners->log, 0,
                   "rtbus owner of \"%V\" rc:%i waiting:%ui",
                   &question->channel->name, rc, owners->waiting - 1);

    question->owner = NULL;

    if (rc == NGX_OK) {
        question->channel->owned = 0;

    } else if (rc == NGX_DECLINED) {
        question->channel->foreign = 1;
    }

    if (--owners->waiting) {
        return;
    }

    rc = ngx_http_rtbus_owners_sort(owners->wanted, &name);

    handler = owners->handler;
    asked = owners->data;

    ngx_free(owners);

    handler(asked, rc, &name);
}


static ngx_int_t
ngx_http_rtbus_owners_sort(ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name)
{
    ngx_str_t                 *refused;
    ngx_uint_t                 i, n;
    ngx_http_rtbus_channel_t  *channel;

    channel = wanted->channels.elts;
    n = 0;

    for (i = 0; i < wanted->channels.nelts; i++) {

        if (!channel[i].foreign) {
            channel[n++] = channel[i];
            continue;
        }

        if (channel[i].fixed) {
            *name = channel[i].name;
            return NGX_DECLINED;
        }

        refused = ngx_array_push(&wanted->refused);
        if (refused == NULL) {
            return NGX_ERROR;
        }

        *refused = channel[i].name;
    }

    wanted->channels.nelts = n;

    return NGX_OK;
}
