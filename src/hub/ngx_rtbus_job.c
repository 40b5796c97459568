
#include "ngx_rtbus_job.h"
#include "ngx_rtbus_channel.h"
#include "rtbus_utf8.h"


#define NGX_RTBUS_JOB_RENEW   5000  /* ms */
#define NGX_RTBUS_JOB_RETRY   200   /* ms */
#define NGX_RTBUS_JOB_KEEP    600000   /* ms, of the 86400 s that keys live */

/* how long a job waits that has neither its owner nor Redis, ms */
#define NGX_RTBUS_JOB_LEFT    60000

/* arguments of rtbus_job_append before the events, and those of an event */
#define NGX_RTBUS_JOB_ARGS    14
#define NGX_RTBUS_JOB_EVENT   4


/* a call that was not answered yet; malloc'ed, all of it one block */

struct ngx_rtbus_batch_s {
    ngx_rtbus_batch_t          *next;
    ngx_rtbus_job_t            *job;
    ngx_rtbus_redis_call_t     *call;       /* NULL: not under way */
    ngx_uint_t                  status;
    size_t                      size;
    int                         argc;
    const char                **argv;
    size_t                     *len;
};


static ngx_int_t ngx_rtbus_job_keep(ngx_rtbus_job_t *job, ngx_str_t *dst,
    const u_char *p, size_t len);
static ngx_rtbus_batch_t *ngx_rtbus_job_batch(ngx_rtbus_job_t *job,
    ngx_uint_t status, rtbus_str_t *usage, const char *error);
static void ngx_rtbus_job_send(ngx_rtbus_job_t *job);
static void ngx_rtbus_job_reply(void *data, redisReply *reply);
static void ngx_rtbus_job_stall(ngx_rtbus_job_t *job, redisReply *reply);
static void ngx_rtbus_job_over(ngx_rtbus_job_t *job, ngx_uint_t status);
static void ngx_rtbus_job_set_over(ngx_rtbus_job_t *job, ngx_uint_t status);
static void ngx_rtbus_job_drop(ngx_rtbus_job_t *job);
static void ngx_rtbus_job_free(ngx_rtbus_job_t *job);
static void ngx_rtbus_job_timer(ngx_event_t *ev);
static void ngx_rtbus_job_mail(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);
static void ngx_rtbus_job_told(void *data, redisReply *reply);
static void ngx_rtbus_job_ask(ngx_rtbus_channel_t *ch);
static void ngx_rtbus_job_asked(void *data, redisReply *reply);


void
ngx_rtbus_job_tell(ngx_rtbus_hub_t *hub, ngx_str_t *owner)
{
    u_char     *p;
    ngx_str_t   id, message;
    u_char      buf[sizeof("{\"stop\":\"\"}") + NGX_RTBUS_JOB_OWNER];

    if (owner->len <= NGX_RTBUS_MAILBOX_ID_LEN
        || owner->len > NGX_RTBUS_JOB_OWNER)
    {
        return;
    }

    id.data = owner->data;
    id.len = NGX_RTBUS_MAILBOX_ID_LEN;

    p = ngx_sprintf(buf, "{\"stop\":\"%V\"}", owner);

    message.data = buf;
    message.len = p - buf;

    /* if this message is lost, the owner finds out with its next call */

    (void) ngx_rtbus_mailbox_send(&hub->mailbox, &id, &message,
                                  ngx_rtbus_job_told, NULL);
}


static void
ngx_rtbus_job_told(void *data, redisReply *reply)
{
    /* the worker may be gone */
}


ngx_rtbus_job_t *
ngx_rtbus_job_create(ngx_rtbus_hub_t *hub, ngx_rtbus_job_claim_t *claim)
{
    u_char           *p;
    ngx_rtbus_job_t  *job;

    job = ngx_calloc(sizeof(ngx_rtbus_job_t) + claim->channel.len
                     + claim->epoch.len + claim->owner_len, hub->log);
    if (job == NULL) {
        return NULL;
    }

    job->pool = ngx_create_pool(4096, hub->log);
    if (job->pool == NULL) {
        ngx_free(job);
        return NULL;
    }

    p = (u_char *) job + sizeof(ngx_rtbus_job_t);

    job->channel.data = p;
    job->channel.len = claim->channel.len;
    p = ngx_cpymem(p, claim->channel.data, claim->channel.len);

    job->epoch.data = p;
    job->epoch.len = claim->epoch.len;
    p = ngx_cpymem(p, claim->epoch.data, claim->epoch.len);

    job->owner.data = p;
    job->owner.len = claim->owner_len;
    ngx_memcpy(p, claim->owner, claim->owner_len);

    job->hub = hub;
    job->format = RTBUS_LLM_AUTO;
    job->last = &job->first;
    job->renewed = ngx_current_msec;
    job->kept = ngx_current_msec;

    job->timer.handler = ngx_rtbus_job_timer;
    job->timer.data = job;
    job->timer.log = hub->log;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                   "rtbus: job of \"%V\" is claimed, epoch:%V",
                   &job->channel, &job->epoch);

    ngx_rtbus_stat_add(hub->stat, captures, 1);

    ngx_queue_insert_tail(&hub->jobs, &job->queue);
    ngx_add_timer(&job->timer, NGX_RTBUS_JOB_RENEW);

    return job;
}


ngx_int_t
ngx_rtbus_job_begin(ngx_rtbus_job_t *job, ngx_str_t *type, ngx_uint_t format)
{
    if (type) {
        job->type.data = ngx_pstrdup(job->pool, type);
        if (job->type.data == NULL) {
            return NGX_ERROR;
        }

        job->type.len = type->len;
    }

    job->format = format;

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_job_keep(ngx_rtbus_job_t *job, ngx_str_t *dst, const u_char *p,
    size_t len)
{
    dst->len = len;
    dst->data = NULL;

    if (len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(job->pool, len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, p, len);

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_job_add(ngx_rtbus_job_t *job, rtbus_str_t *name, rtbus_str_t *data,
    ngx_uint_t json)
{
    u_char         *p;
    size_t          len;
    ngx_str_t      *arg;
    rtbus_reason_e  reason;
    rtbus_str_t     raw;
    rtbus_event_t   event;
    u_char          quoted[6 * RTBUS_EVENT_NAME_MAX + 2];

    if (job->over) {
        return NGX_OK;
    }

    if (job->adding == NULL) {
        job->adding = ngx_array_create(job->pool, 4 * NGX_RTBUS_JOB_EVENT,
                                       sizeof(ngx_str_t));
        if (job->adding == NULL) {
            return NGX_ERROR;
        }
    }

    /* besides the data there are the name, at most twice, the id and time */

    len = json ? data->len : rtbus_json_quote(NULL, data->data, data->len);

    if (len + 12 * ngx_min(name->len, 4096) + 256 > job->hub->max_event
        || name->len > 4096)
    {
        return NGX_DECLINED;
    }

    arg = ngx_array_push_n(job->adding, NGX_RTBUS_JOB_EVENT);
    if (arg == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(arg, NGX_RTBUS_JOB_EVENT * sizeof(ngx_str_t));

    /* a name that clients cannot be told is kept for replays */

    ngx_str_set(&arg[0], "message");

    if (name->len) {
        raw.data = quoted;
        raw.len = 0;

        if (name->len <= RTBUS_EVENT_NAME_MAX
            && rtbus_utf8_check(RTBUS_UTF8_ACCEPT, name->data, name->len)
               == RTBUS_UTF8_ACCEPT)
        {
            raw.len = rtbus_json_quote(quoted, name->data, name->len);
        }

        if (raw.len && rtbus_event_name(&event, &raw, &reason) == RTBUS_OK
            && (name->len != 7 || ngx_strncmp(name->data, "message", 7) != 0))
        {
            if (ngx_rtbus_job_keep(job, &arg[0], name->data, name->len)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

        } else if (ngx_rtbus_job_keep(job, &arg[3], name->data, name->len)
                   != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ngx_rtbus_job_keep(job, &arg[1], data->data, data->len) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!json) {
        p = ngx_pnalloc(job->pool, len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        rtbus_json_quote(p, data->data, data->len);

        arg[2].data = p;
        arg[2].len = len;
    }

    job->events++;
    job->size += data->len + name->len;

    ngx_rtbus_stat_add(job->hub->stat, capture_events, 1);
    ngx_rtbus_stat_add(job->hub->stat, capture_bytes, data->len);

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_job_text(ngx_rtbus_job_t *job, rtbus_str_t *text)
{
    u_char  *p;
    size_t   size;

    if (text->len == 0 || job->over) {
        return NGX_OK;
    }

    if (job->text.len + text->len > job->text_size) {
        size = 2 * (job->text.len + text->len) + 256;

        p = ngx_alloc(size, job->hub->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (job->text.data) {
            ngx_memcpy(p, job->text.data, job->text.len);
            ngx_free(job->text.data);
        }

        job->text.data = p;
        job->text_size = size;
    }

    ngx_memcpy(job->text.data + job->text.len, text->data, text->len);
    job->text.len += text->len;

    return NGX_OK;
}


ngx_int_t
ngx_rtbus_job_flush(ngx_rtbus_job_t *job, ngx_uint_t status,
    rtbus_str_t *usage, const char *error)
{
    ngx_rtbus_batch_t  *batch;

    if (job->over) {
        return NGX_OK;
    }

    batch = ngx_rtbus_job_batch(job, status, usage, error);
    if (batch == NULL) {
        return NGX_ERROR;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_CORE, job->hub->log, 0,
                   "rtbus: job of \"%V\" is flushed, events:%uL status:%ui "
                   "size:%uz", &job->channel, job->events, status, batch->size);

    *job->last = batch;
    job->last = &batch->next;
    job->waiting += batch->size;

    job->renewed = ngx_current_msec;
    job->format = RTBUS_LLM_AUTO;
    job->type.len = 0;
    job->text.len = 0;
    job->adding = NULL;

    ngx_reset_pool(job->pool);

    if (status != RTBUS_JOB_RUNNING) {
        ngx_rtbus_job_set_over(job, status);
    }

    ngx_rtbus_job_send(job);

    return NGX_OK;
}


static ngx_rtbus_batch_t *
ngx_rtbus_job_batch(ngx_rtbus_job_t *job, ngx_uint_t status,
    rtbus_str_t *usage, const char *error)
{
    u_char             *p;
    size_t              size;
    uint64_t            before;
    ngx_str_t          *arg;
    ngx_uint_t          i, n, argc;
    const char         *text;
    ngx_rtbus_batch_t  *batch;
    ngx_str_t           args[NGX_RTBUS_JOB_ARGS];
    u_char              key[NGX_RTBUS_HUB_MAX_KEY], number[NGX_INT64_LEN];

    n = job->adding ? job->adding->nelts : 0;
    before = job->events - n / NGX_RTBUS_JOB_EVENT;

    ngx_memzero(args, sizeof(args));

    ngx_str_set(&args[0], "FCALL");
    ngx_str_set(&args[1], "rtbus_job_append");
    ngx_str_set(&args[2], "1");

    args[3].data = key;
    args[3].len = ngx_rtbus_hub_key(job->hub, key, &job->channel, "");

    args[4] = job->epoch;

    args[5].data = number;
    args[5].len = ngx_sprintf(number, "%uL", before) - number;

    args[6] = job->owner;

    ngx_str_set(&args[7], "0");

    if (before == 0 || ngx_current_msec - job->kept > NGX_RTBUS_JOB_KEEP) {
        job->kept = ngx_current_msec;
        ngx_str_set(&args[7], "1");
    }

    args[8] = job->type;

    if (job->format < RTBUS_LLM_AUTO) {
        text = rtbus_llm_names[job->format];
        args[9].data = (u_char *) text;
        args[9].len = ngx_strlen(text);
    }

    args[10] = job->text;

    if (status != RTBUS_JOB_RUNNING) {
        text = rtbus_job_statuses[status];
        args[11].data = (u_char *) text;
        args[11].len = ngx_strlen(text);
    }

    if (usage) {
        args[12].data = usage->data;
        args[12].len = usage->len;
    }

    if (error) {
        args[13].data = (u_char *) error;
        args[13].len = ngx_strlen(error);
    }

    argc = NGX_RTBUS_JOB_ARGS + n;
    size = sizeof(ngx_rtbus_batch_t)
           + argc * (sizeof(char *) + sizeof(size_t)) + 1;

    for (i = 0; i < argc; i++) {
        arg = (i < NGX_RTBUS_JOB_ARGS)
              ? &args[i]
              : (ngx_str_t *) job->adding->elts + (i - NGX_RTBUS_JOB_ARGS);

        size += arg->len;
    }

    batch = ngx_alloc(size, job->hub->log);
    if (batch == NULL) {
        return NULL;
    }

    batch->next = NULL;
    batch->job = job;
    batch->call = NULL;
    batch->status = status;
    batch->size = size;
    batch->argc = argc;
    batch->argv = (const char **) (batch + 1);
    batch->len = (size_t *) (batch->argv + argc);

    p = (u_char *) (batch->len + argc);

    for (i = 0; i < argc; i++) {
        arg = (i < NGX_RTBUS_JOB_ARGS)
              ? &args[i]
              : (ngx_str_t *) job->adding->elts + (i - NGX_RTBUS_JOB_ARGS);

        batch->argv[i] = (char *) p;
        batch->len[i] = arg->len;

        if (arg->len) {
            p = ngx_cpymem(p, arg->data, arg->len);
        }
    }

    return batch;
}


/* sends all batches that are not under way, in order */

static void
ngx_rtbus_job_send(ngx_rtbus_job_t *job)
{
    ngx_rtbus_batch_t  *batch;

    if (job->stalled) {
        return;
    }

    for (batch = job->first; batch; batch = batch->next) {

        if (batch->call) {
            continue;
        }

        batch->call = ngx_rtbus_redis_call(&job->hub->shards, batch->argc,
                                           batch->argv, batch->len,
                                           ngx_rtbus_job_reply, batch);
        if (batch->call == NULL) {
            ngx_rtbus_job_stall(job, NULL);
            return;
        }

        job->nsent++;
    }
}


static void
ngx_rtbus_job_reply(void *data, redisReply *reply)
{
    ngx_rtbus_batch_t *batch = data;

    ngx_uint_t        status;
    redisReply      **e;
    ngx_rtbus_job_t  *job;

    job = batch->job;

    batch->call = NULL;
    job->nsent--;

    if (batch != job->first || job->stalled) {

        /* an earlier one has failed, so this one has, too, or is repeated */

        if (job->nsent == 0) {
            ngx_rtbus_job_stall(job, NULL);
        }

        return;
    }

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING)
    {
        ngx_rtbus_job_stall(job, reply);
        return;
    }

    e = reply->element;
    job->away = 0;

    if (e[0]->len == 2 && ngx_strncmp(e[0]->str, "ok", 2) == 0) {

        status = batch->status;

        job->first = batch->next;
        job->waiting -= batch->size;

        if (job->first == NULL) {
            job->last = &job->first;
        }

        ngx_free(batch);

        if (status == RTBUS_JOB_RUNNING) {
            return;
        }

        ngx_rtbus_job_drop(job);

        if (job->ended_handler) {
            job->ended_handler(job->data);
            return;
        }

        ngx_rtbus_job_free(job);
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, job->hub->log, 0,
                   "rtbus: job of \"%V\" is not ours: %s, %s",
                   &job->channel, e[0]->str, e[1]->str);

    status = rtbus_llm_name(rtbus_job_statuses, RTBUS_JOB_STATUSES,
                            (u_char *) e[1]->str, e[1]->len);

    if (ngx_strcmp(e[1]->str, "replaced") == 0) {
        status = RTBUS_JOB_CANCELLED;

    } else if (status == RTBUS_JOB_STATUSES || status == RTBUS_JOB_RUNNING) {
        status = RTBUS_JOB_INTERRUPTED;
    }

    ngx_rtbus_job_over(job, status);
}


/* later it continues from the first call without a reply */

static void
ngx_rtbus_job_stall(ngx_rtbus_job_t *job, redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_ERROR) {

        if (ngx_rtbus_library_missing(reply)) {
            ngx_rtbus_hub_library_lost(job->hub);
        }

        if (job->hub->failed != ngx_time()) {
            job->hub->failed = ngx_time();

            ngx_log_error(NGX_LOG_ERR, job->hub->log, 0,
                          "rtbus: cannot write the events of channel \"%V\": "
                          "%s", &job->channel, reply->str);
        }
    }

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, job->hub->log, 0,
                   "rtbus: job of \"%V\" waits for Redis, bytes:%uz",
                   &job->channel, job->waiting);

    job->away = 1;
    job->stalled = 1;

    ngx_add_timer(&job->timer, NGX_RTBUS_JOB_RETRY);
}


static void
ngx_rtbus_job_over(ngx_rtbus_job_t *job, ngx_uint_t status)
{
    ngx_log_error(NGX_LOG_INFO, job->hub->log, 0,
                  "rtbus: job of channel \"%V\" is over, %s", &job->channel,
                  rtbus_job_statuses[status]);

    ngx_rtbus_job_set_over(job, status);
    ngx_rtbus_job_drop(job);

    if (job->lost_handler) {
        job->lost_handler(job->data);
        return;
    }

    ngx_rtbus_job_free(job);
}


static void
ngx_rtbus_job_set_over(ngx_rtbus_job_t *job, ngx_uint_t status)
{
    ngx_rtbus_stat_t  *stat;

    job->status = status;

    if (job->over) {
        return;
    }

    job->over = 1;

    stat = job->hub->stat;

    ngx_rtbus_stat_sub(stat, captures, 1);
    ngx_rtbus_stat_add(stat, captured[status - RTBUS_JOB_COMPLETED], 1);
}


static void
ngx_rtbus_job_drop(ngx_rtbus_job_t *job)
{
    ngx_rtbus_batch_t  *batch;

    while (job->first) {
        batch = job->first;
        job->first = batch->next;

        if (batch->call) {
            ngx_rtbus_redis_cmd_cancel(batch->call);
        }

        ngx_free(batch);
    }

    job->last = &job->first;
    job->waiting = 0;
    job->nsent = 0;

    if (job->timer.timer_set) {
        ngx_del_timer(&job->timer);
    }
}


static void
ngx_rtbus_job_free(ngx_rtbus_job_t *job)
{
    ngx_rtbus_job_drop(job);
    ngx_rtbus_job_set_over(job, job->status ? job->status
                                            : RTBUS_JOB_INTERRUPTED);

    ngx_queue_remove(&job->queue);

    if (job->text.data) {
        ngx_free(job->text.data);
    }

    ngx_destroy_pool(job->pool);
    ngx_free(job);
}


void
ngx_rtbus_job_leave(ngx_rtbus_job_t *job)
{
    ngx_log_debug3(NGX_LOG_DEBUG_CORE, job->hub->log, 0,
                   "rtbus: job of \"%V\" is left, over:%d sent:%ui",
                   &job->channel, job->over, job->nsent);

    job->ended_handler = NULL;
    job->lost_handler = NULL;
    job->left = ngx_current_msec;

    if (!job->over
        && ngx_rtbus_job_flush(job, RTBUS_JOB_INTERRUPTED, NULL, NULL)
           != NGX_OK)
    {
        /* once the lease ends, others see that the owner is gone */
        ngx_rtbus_job_drop(job);
    }

    if (job->first == NULL) {
        ngx_rtbus_job_free(job);
    }
}


static void
ngx_rtbus_job_timer(ngx_event_t *ev)
{
    ngx_rtbus_job_t  *job;

    job = ev->data;

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "rtbus: job of \"%V\", stalled:%d sent:%ui",
                   &job->channel, job->stalled, job->nsent);

    if (job->lost_handler == NULL && job->ended_handler == NULL
        && ngx_current_msec - job->left > NGX_RTBUS_JOB_LEFT)
    {
        ngx_rtbus_job_free(job);
        return;
    }

    ngx_add_timer(ev, job->stalled ? NGX_RTBUS_JOB_RETRY
                                   : NGX_RTBUS_JOB_RENEW);

    if (job->stalled) {

        if (job->nsent == 0) {
            job->stalled = 0;
            ngx_rtbus_job_send(job);
        }

        return;
    }

    if (!job->over && job->first == NULL
        && ngx_current_msec - job->renewed >= NGX_RTBUS_JOB_RENEW / 2)
    {
        (void) ngx_rtbus_job_flush(job, RTBUS_JOB_RUNNING, NULL, NULL);
    }
}


void
ngx_rtbus_job_init(ngx_rtbus_hub_t *hub)
{
    ngx_rtbus_mailbox_handle(&hub->mailbox, "stop", ngx_rtbus_job_mail, hub);
}


void
ngx_rtbus_job_close(ngx_rtbus_hub_t *hub)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&hub->jobs)) {
        q = ngx_queue_head(&hub->jobs);
        ngx_rtbus_job_free(ngx_queue_data(q, ngx_rtbus_job_t, queue));
    }
}


static void
ngx_rtbus_job_mail(void *data, rtbus_json_value_t *value, rtbus_str_t *message)
{
    ngx_rtbus_hub_t *hub = data;

    ngx_queue_t      *q;
    ngx_rtbus_job_t  *job;

    if (value->type != RTBUS_JSON_STRING) {
        return;
    }

    for (q = ngx_queue_head(&hub->jobs);
         q != ngx_queue_sentinel(&hub->jobs);
         q = ngx_queue_next(q))
    {
        job = ngx_queue_data(q, ngx_rtbus_job_t, queue);

        if (!job->over && job->owner.len == value->raw.len - 2
            && ngx_strncmp(job->owner.data, value->raw.data + 1,
                           job->owner.len)
               == 0)
        {
            ngx_rtbus_job_over(job, RTBUS_JOB_CANCELLED);
            return;
        }
    }
}


void
ngx_rtbus_job_watch(ngx_rtbus_channel_t *ch)
{
    if (ch->job_epoch == ch->pos.epoch) {
        return;
    }

    ch->job_epoch = ch->pos.epoch;

    if (ch->hub->captures && ch->job_call == NULL) {
        ngx_rtbus_job_ask(ch);
    }
}


void
ngx_rtbus_job_forget(ngx_rtbus_channel_t *ch)
{
    if (ch->job_call) {
        ngx_rtbus_redis_cmd_cancel(ch->job_call);
        ch->job_call = NULL;
    }

    if (ch->watched) {
        ngx_queue_remove(&ch->job_queue);
        ch->watched = 0;
    }
}


void
ngx_rtbus_job_beat(ngx_rtbus_hub_t *hub)
{
    ngx_queue_t          *q;
    ngx_rtbus_channel_t  *ch;

    for (q = ngx_queue_head(&hub->watched);
         q != ngx_queue_sentinel(&hub->watched);
         q = ngx_queue_next(q))
    {
        ch = ngx_queue_data(q, ngx_rtbus_channel_t, job_queue);

        if (ch->job_call == NULL && !ch->lingering) {
            ngx_rtbus_job_ask(ch);
        }
    }
}


/* if its owner is gone, an event says so before the reply arrives */

static void
ngx_rtbus_job_ask(ngx_rtbus_channel_t *ch)
{
    ngx_rtbus_job_question_t  q;

    ngx_rtbus_job_check(ch->hub, &ch->name, &q);

    ch->job_call = ngx_rtbus_redis_call(&ch->hub->shards, q.argc, q.argv,
                                        q.len, ngx_rtbus_job_asked, ch);
}


static void
ngx_rtbus_job_asked(void *data, redisReply *reply)
{
    ngx_rtbus_channel_t *ch = data;

    ngx_rtbus_job_info_t  info;

    ch->job_call = NULL;

    if (ngx_rtbus_job_info(ch->hub, reply, NULL, &info) != NGX_OK) {

        /* asked again with the next beat if watched, or the next position */

        if (!ch->watched) {
            ch->job_epoch = 0;
        }

        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, ch->hub->log, 0,
                   "rtbus: channel \"%V\" has a job, running:%d watched:%d",
                   &ch->name, info.running, ch->watched);

    if (info.running && !ch->watched) {
        ngx_queue_insert_tail(&ch->hub->watched, &ch->job_queue);
        ch->watched = 1;

    } else if (!info.running && ch->watched) {
        ngx_queue_remove(&ch->job_queue);
        ch->watched = 0;
    }
}
