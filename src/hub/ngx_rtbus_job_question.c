
#include "ngx_rtbus_job_question.h"
#include "ngx_rtbus_channel.h"


/* strings in the replies of rtbus_job_check and rtbus_job_claim; one more, which
   older versions of the library do not have, says that a lease was lost */

#define NGX_RTBUS_JOB_INFO   9
#define NGX_RTBUS_JOB_CLAIM  3


static redisReply **ngx_rtbus_job_strings(ngx_rtbus_hub_t *hub,
    redisReply *reply, size_t n);
static ngx_int_t ngx_rtbus_job_copy(ngx_pool_t *pool, redisReply *reply,
    ngx_str_t *dst);


static const char *const  ngx_rtbus_job_busy[] = {
    "reject", "attach", "replace"
};


static const char *const  ngx_rtbus_job_verdicts[] = {
    "claimed", "busy", "attach", "forbidden", "gone"
};


#define ngx_rtbus_job_arg(q, i, s)                                            \
    (q)->argv[i] = s;                                                         \
    (q)->len[i] = sizeof(s) - 1


void
ngx_rtbus_job_check(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_job_question_t *q)
{
    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                   "rtbus job check channel:\"%V\"", channel);

    ngx_rtbus_job_arg(q, 0, "FCALL");
    ngx_rtbus_job_arg(q, 1, "rtbus_job_check");
    ngx_rtbus_job_arg(q, 2, "1");

    q->argv[3] = (char *) q->key;
    q->len[3] = ngx_rtbus_hub_key(hub, q->key, channel, "");

    ngx_rtbus_job_arg(q, 4, "0");

    if (ngx_rtbus_hub_settled(hub, NGX_RTBUS_JOB_LEASE)) {
        q->argv[4] = "1";
    }

    ngx_rtbus_job_arg(q, 5, "1");

    q->argc = 6;
}


/* the strings of a reply, or NULL if it has none */

static redisReply **
ngx_rtbus_job_strings(ngx_rtbus_hub_t *hub, redisReply *reply, size_t n)
{
    size_t        i;
    redisReply  **e;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || (reply->elements != n && reply->elements != n + 1))
    {
        return NULL;
    }

    e = reply->element;

    for (i = 0; i < reply->elements; i++) {
        if (e[i]->type != REDIS_REPLY_STRING) {
            return NULL;
        }
    }

    if (reply->elements > n && e[n]->len) {
        ngx_rtbus_stat_add(hub->stat, leases, 1);
    }

    return e;
}


ngx_int_t
ngx_rtbus_job_info(ngx_rtbus_hub_t *hub, redisReply *reply, ngx_pool_t *pool,
    ngx_rtbus_job_info_t *info)
{
    ngx_int_t     n;
    redisReply  **e;

    ngx_memzero(info, sizeof(ngx_rtbus_job_info_t));

    e = ngx_rtbus_job_strings(hub, reply, NGX_RTBUS_JOB_INFO);

    if (e == NULL) {
        return NGX_DECLINED;
    }

    if (rtbus_pos_parse(&info->last, (u_char *) e[2]->str, e[2]->len)
        != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    if (ngx_rtbus_job_copy(pool, e[0], &info->user) != NGX_OK
        || ngx_rtbus_job_copy(pool, e[3], &info->type) != NGX_OK
        || ngx_rtbus_job_copy(pool, e[6], &info->owner) != NGX_OK)
    {
        return NGX_ERROR;
    }

    info->status = rtbus_llm_name(rtbus_job_statuses, RTBUS_JOB_STATUSES,
                                  (u_char *) e[1]->str, e[1]->len);

    info->format = rtbus_llm_name(rtbus_llm_names, RTBUS_LLM_FORMATS,
                                  (u_char *) e[8]->str, e[8]->len);

    if (e[4]->len
        && rtbus_pos_parse(&info->end, (u_char *) e[4]->str, e[4]->len)
           == RTBUS_OK)
    {
        n = ngx_atosz((u_char *) e[5]->str, e[5]->len);

        info->over = 1;
        info->since = (n == NGX_ERROR) ? 0 : (ngx_msec_t) n;
    }

    info->captured = (e[7]->len != 0);

    if (!info->captured) {
        ngx_str_null(&info->type);
    }

    info->running = (info->captured && info->owner.len
                     && info->status == RTBUS_JOB_RUNNING);
    info->waiting = (info->running && info->type.len == 0);

    info->lines = (info->type.len >= sizeof("application/x-ndjson") - 1
                   && ngx_strncasecmp(info->type.data,
                                      (u_char *) "application/x-ndjson",
                                      sizeof("application/x-ndjson") - 1)
                      == 0);

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_job_copy(ngx_pool_t *pool, redisReply *reply, ngx_str_t *dst)
{
    dst->len = reply->len;
    dst->data = (u_char *) reply->str;

    if (reply->len == 0 || pool == NULL) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, reply->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, reply->str, reply->len);

    return NGX_OK;
}


void
ngx_rtbus_job_stop(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_job_info_t *info, ngx_rtbus_job_question_t *q)
{
    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                   "rtbus job stop channel:\"%V\"", channel);

    ngx_rtbus_job_arg(q, 0, "FCALL");
    ngx_rtbus_job_arg(q, 1, "rtbus_job_stop");
    ngx_rtbus_job_arg(q, 2, "1");

    q->argv[3] = (char *) q->key;
    q->len[3] = ngx_rtbus_hub_key(hub, q->key, channel, "");

    q->argv[4] = (char *) q->text[0];
    q->len[4] = ngx_sprintf(q->text[0], "%uL", info->last.epoch) - q->text[0];

    q->argc = 5;
}


void
ngx_rtbus_job_claim(ngx_rtbus_hub_t *hub, ngx_rtbus_job_claim_t *claim,
    ngx_rtbus_job_question_t *q)
{
    static uint64_t  number;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                   "rtbus job claim channel:\"%V\"", &claim->channel);

    claim->owner_len = ngx_sprintf(claim->owner, "%V:%uL", &hub->mailbox.id,
                                   ++number)
                       - claim->owner;

    ngx_rtbus_job_arg(q, 0, "FCALL");
    ngx_rtbus_job_arg(q, 1, "rtbus_job_claim");
    ngx_rtbus_job_arg(q, 2, "1");

    q->argv[3] = (char *) q->key;
    q->len[3] = ngx_rtbus_hub_key(hub, q->key, &claim->channel, "");

    q->argv[4] = claim->user.len ? (char *) claim->user.data : "";
    q->len[4] = claim->user.len;

    q->argv[5] = ngx_rtbus_job_busy[claim->busy];
    q->len[5] = ngx_strlen(q->argv[5]);

    q->argv[6] = claim->key.len ? (char *) claim->key.data : "";
    q->len[6] = claim->key.len;

    q->argv[7] = (char *) claim->owner;
    q->len[7] = claim->owner_len;

    q->argv[8] = (char *) q->text[0];
    q->len[8] = ngx_sprintf(q->text[0], "%T", claim->keep) - q->text[0];

    q->argv[9] = claim->cursor.len ? (char *) claim->cursor.data : "";
    q->len[9] = claim->cursor.len;

    ngx_rtbus_job_arg(q, 10, "0");

    if (ngx_rtbus_hub_settled(hub, NGX_RTBUS_JOB_LEASE)) {
        q->argv[10] = "1";
    }

    ngx_rtbus_job_arg(q, 11, "1");

    q->argc = 12;

    claim->asked = ngx_current_msec;
}


ngx_int_t
ngx_rtbus_job_claimed(ngx_rtbus_hub_t *hub, ngx_rtbus_job_claim_t *claim,
    redisReply *reply)
{
    redisReply  **e;

    e = ngx_rtbus_job_strings(hub, reply, NGX_RTBUS_JOB_CLAIM);

    if (e == NULL) {
        return NGX_DECLINED;
    }

    ngx_rtbus_stat_time(hub->stat->claim, ngx_current_msec - claim->asked);

    claim->verdict = rtbus_llm_name(ngx_rtbus_job_verdicts,
                                    NGX_RTBUS_JOB_GONE + 1,
                                    (u_char *) e[0]->str, e[0]->len);

    claim->epoch.data = (u_char *) e[1]->str;
    claim->epoch.len = e[1]->len;
    claim->old.data = (u_char *) e[2]->str;
    claim->old.len = e[2]->len;

    return (claim->verdict <= NGX_RTBUS_JOB_GONE) ? NGX_OK : NGX_DECLINED;
}
