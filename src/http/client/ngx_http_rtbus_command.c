
#include "ngx_http_rtbus_command.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_text.h"
#include "ngx_rtbus_owner.h"
#include "rtbus_attachments.h"


/* commands under way, of all the worker's clients */
#define NGX_HTTP_RTBUS_MAX_COMMANDS  16384

/* bytes of those that wait for Redis to say whose the job is */
#define NGX_HTTP_RTBUS_MAX_PARCELS   (64 * 1024 * 1024)

/* what the function takes for a dedupe id, see conf/rtbus.lua */
#define NGX_HTTP_RTBUS_MAX_DEDUPE    200


/* those of a worker that are under way; in cycle->pool */

struct ngx_http_rtbus_commands_s {
    uint64_t                   number;     /* of the last one's ack */
    ngx_uint_t                 n;
    size_t                     size;       /* of those not sent yet */
    ngx_rbtree_t               waiting;    /* for a producer's answer */
    ngx_rbtree_node_t          waiting_sentinel;
    ngx_rbtree_t               same;       /* ... that have an ackId */
    ngx_rbtree_node_t          same_sentinel;
    ngx_queue_t                orphans;    /* ... whose sender is gone */
    time_t                     complained; /* of Redis, when */
    ngx_uint_t                 late;       /* the worker waits for none */
    char                       invalid[RTBUS_SCHEMA_ERROR];
                                           /* why the last one that the schema
                                              forbids is refused */
};


static ngx_http_rtbus_command_t *ngx_http_rtbus_command_start(
    ngx_http_rtbus_asker_t *asker, const ngx_http_rtbus_command_rule_t *rule,
    ngx_http_rtbus_input_t *in, ngx_uint_t answer,
    ngx_http_rtbus_command_pt handler, void *data,
    ngx_http_rtbus_outcome_t *refused);
static ngx_uint_t ngx_http_rtbus_command_check(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    u_char *buf, ngx_str_t *job, ngx_str_t *dedupe);
static ngx_uint_t ngx_http_rtbus_command_dedupe(
    ngx_http_rtbus_asker_t *asker, ngx_http_rtbus_input_t *in,
    rtbus_json_value_t *value, ngx_str_t *dedupe);
static rtbus_json_type_e ngx_http_rtbus_command_type(ngx_str_t *json);
static ngx_http_rtbus_command_t *ngx_http_rtbus_command_create(
    ngx_http_rtbus_asker_t *asker, const ngx_http_rtbus_command_rule_t *rule,
    ngx_http_rtbus_input_t *in, ngx_str_t *job, ngx_str_t *dedupe,
    ngx_uint_t wants);
static void ngx_http_rtbus_parcel_free(ngx_http_rtbus_command_t *cmd);
static void ngx_http_rtbus_command_owned(void *data, ngx_int_t rc);
static ngx_int_t ngx_http_rtbus_command_send(ngx_http_rtbus_command_t *cmd);
static void ngx_http_rtbus_command_wait(ngx_http_rtbus_command_t *cmd);
static void ngx_http_rtbus_command_reply(void *data, redisReply *reply);
static void ngx_http_rtbus_command_full(ngx_http_rtbus_command_t *cmd);
static void ngx_http_rtbus_command_failed(ngx_http_rtbus_command_t *cmd,
    redisReply *reply);
static void ngx_http_rtbus_command_timeout(ngx_event_t *ev);
static void ngx_http_rtbus_command_answered(void *data,
    rtbus_json_value_t *value, rtbus_str_t *message);
static ngx_uint_t ngx_http_rtbus_command_finish(
    ngx_http_rtbus_worker_t *worker, uint64_t number,
    ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_command_done(ngx_http_rtbus_command_t *cmd,
    ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_command_count(ngx_rtbus_stat_t *stat,
    ngx_http_rtbus_outcome_t *outcome);


ngx_int_t
ngx_http_rtbus_command_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    ngx_http_rtbus_commands_t  *commands;

    commands = ngx_pcalloc(cycle->pool, sizeof(ngx_http_rtbus_commands_t));
    if (commands == NULL) {
        return NGX_ERROR;
    }

    worker->commands = commands;

    ngx_rbtree_init(&commands->waiting, &commands->waiting_sentinel,
                    ngx_rbtree_insert_value);
    ngx_rbtree_init(&commands->same, &commands->same_sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&commands->orphans);

    ngx_rtbus_mailbox_handle(&worker->hub.mailbox, "ack",
                             ngx_http_rtbus_command_answered, worker);

    return NGX_OK;
}


void
ngx_http_rtbus_command_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_rbtree_t              *tree;
    ngx_http_rtbus_command_t  *cmd;

    tree = &worker->commands->waiting;

    while (tree->root != tree->sentinel) {
        cmd = ngx_rbtree_data(tree->root, ngx_http_rtbus_command_t, node);

        cmd->handler = NULL;
        ngx_http_rtbus_command_done(cmd, NULL);
    }
}


void
ngx_http_rtbus_command_notify(ngx_http_rtbus_asker_t *asker, const char *name,
    ngx_str_t *data)
{
    ngx_str_t                             none;
    ngx_http_rtbus_input_t                in;
    ngx_http_rtbus_command_t             *cmd;
    const ngx_http_rtbus_command_rule_t  *rule;

    ngx_memzero(&in, sizeof(ngx_http_rtbus_input_t));

    in.name.len = ngx_strlen(name);
    in.name.data = (u_char *) name;
    in.data = *data;
    in.args = *data;

    rule = ngx_http_rtbus_command_rule(asker->rules, &in.name, 1);

    if (rule == NULL) {
        return;
    }

    ngx_str_null(&none);

    cmd = ngx_http_rtbus_command_create(asker, rule, &in, &none, &none, 0);

    if (cmd && ngx_http_rtbus_command_send(cmd) == NGX_OK) {
        return;
    }

    if (cmd) {
        ngx_rtbus_reason_command(asker->worker->hub.stat,
                                 NGX_RTBUS_REASON_UNAVAILABLE);
    } else {
        ngx_rtbus_stat_add(asker->worker->hub.stat,
                           commands[NGX_RTBUS_STAT_CMD_ERROR], 1);
    }

    ngx_log_error(NGX_LOG_INFO, asker->log, 0,
                  "rtbus: event \"%s\" is lost, redis is away", name);

    if (cmd) {
        ngx_http_rtbus_command_done(cmd, NULL);
    }
}


ngx_http_rtbus_command_t *
ngx_http_rtbus_command_run(ngx_http_rtbus_asker_t *asker,
    ngx_http_rtbus_input_t *in, ngx_uint_t answer,
    ngx_http_rtbus_command_pt handler, void *data,
    ngx_http_rtbus_outcome_t *refused)
{
    ngx_http_rtbus_command_t             *cmd;
    const ngx_http_rtbus_command_rule_t  *rule;

    /* names with "@" are the module's own */

    rule = (in->name.len && in->name.data[0] != '@')
           ? ngx_http_rtbus_command_rule(asker->rules, &in->name, 0) : NULL;

    if (rule == NULL) {
        refused->error = NGX_RTBUS_REASON_EVENT;
        return NULL;
    }

    cmd = ngx_http_rtbus_command_start(asker, rule, in, answer, handler, data,
                                       refused);
    if (cmd == NULL && refused->error) {
        ngx_rtbus_reason_command(asker->worker->hub.stat, refused->error);

    } else if (cmd == NULL) {
        ngx_rtbus_stat_add(asker->worker->hub.stat,
                           commands[NGX_RTBUS_STAT_CMD_ERROR], 1);
    }

    return cmd;
}


static ngx_http_rtbus_command_t *
ngx_http_rtbus_command_start(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    ngx_uint_t answer, ngx_http_rtbus_command_pt handler, void *data,
    ngx_http_rtbus_outcome_t *refused)
{
    u_char                      job_buf[RTBUS_CHANNEL_MAX];
    u_char                      buf[NGX_HTTP_RTBUS_MAX_DEDUPE];
    ngx_str_t                   job, dedupe;
    ngx_uint_t                  wants;
    ngx_http_rtbus_command_t   *cmd;
    ngx_http_rtbus_commands_t  *commands;

    dedupe.data = buf;
    dedupe.len = 0;

    refused->error = ngx_http_rtbus_command_check(asker, rule, in, job_buf,
                                                  &job, &dedupe);
    if (refused->error) {

        if (refused->error == NGX_RTBUS_REASON_SCHEMA) {
            refused->text = asker->worker->commands->invalid;
        }

        return NULL;
    }

    wants = (answer && rule->reply);

    if (!ngx_rtbus_redis_shards_up(&asker->worker->hub.shards)
        || (wants && !asker->worker->hub.mailbox.ready))
    {
        refused->error = NGX_RTBUS_REASON_UNAVAILABLE;
        return NULL;
    }

    commands = asker->worker->commands;

    if ((commands->n == NGX_HTTP_RTBUS_MAX_COMMANDS
         && ngx_queue_empty(&commands->orphans))
        || commands->size > NGX_HTTP_RTBUS_MAX_PARCELS)
    {
        refused->error = NGX_RTBUS_REASON_REQUESTS;
        return NULL;
    }

    cmd = ngx_http_rtbus_command_create(asker, rule, in, &job, &dedupe, wants);

    if (cmd == NULL) {
        refused->error = RTBUS_REASON_NONE;
        return NULL;
    }

    cmd->handler = handler;
    cmd->data = data;

    if (rule->owner || rule->claim) {

        cmd->owner = ngx_rtbus_owner_ask(&asker->worker->hub, &job,
                                         &asker->user, rule->claim,
                                         ngx_http_rtbus_command_owned, cmd);
        if (cmd->owner) {
            return cmd;
        }

    } else if (ngx_http_rtbus_command_send(cmd) == NGX_OK) {
        return cmd;
    }

    cmd->handler = NULL;
    ngx_http_rtbus_command_done(cmd, NULL);

    refused->error = NGX_RTBUS_REASON_UNAVAILABLE;
    return NULL;
}


/*
 * All that is checked before a command is sent: why it is refused, or 0.  job
 * becomes the job's channel, in buf, or empty if the rule names no job; dedupe,
 * which has room for NGX_HTTP_RTBUS_MAX_DEDUPE bytes, stays empty without an
 * ackId.
 */

static ngx_uint_t
ngx_http_rtbus_command_check(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    u_char *buf, ngx_str_t *job, ngx_str_t *dedupe)
{
    rtbus_str_t             name;
    rtbus_json_value_t      data, *id;
    rtbus_json_member_t     m[] = { rtbus_json_member("ackId"),
                                    rtbus_json_member("") };
    const rtbus_schema_t   *schema;

    if ((rule->owner || rule->claim) && asker->user.len == 0) {

        ngx_log_error(NGX_LOG_INFO, asker->log, 0,
                      "rtbus: client without a user sent command %V",
                      ngx_http_rtbus_text_shown(&in->name));
        return NGX_RTBUS_REASON_FORBIDDEN;
    }

    data.type = ngx_http_rtbus_command_type(&in->data);
    data.raw.len = in->data.len;
    data.raw.data = in->data.data;

    schema = asker->worker->hub.schema;

    if (schema) {
        name.len = in->name.len;
        name.data = in->name.data;

        if (rtbus_schema_check(schema, &name, &data.raw,
                               asker->worker->commands->invalid)
            != RTBUS_OK)
        {
            return NGX_RTBUS_REASON_SCHEMA;
        }
    }

    ngx_str_null(job);

    id = &data;

    if (data.type == RTBUS_JSON_OBJECT) {

        m[1].name = (const char *) rule->job.data;
        m[1].len = rule->job.len;

        rtbus_json_members(&data.raw, m, rule->job.len ? 2 : 1);

        id = &m[1].value;

        /* what is checked has to be what the producer will read */

        if (rule->job.len
            && rtbus_json_count(&data.raw, m[1].name, m[1].len) > 1)
        {
            return NGX_RTBUS_REASON_JOB_ID;
        }

        if (rtbus_json_count(&data.raw, m[0].name, m[0].len) > 1) {
            return NGX_RTBUS_REASON_ACK_ID;
        }
    }

    if (rule->job.len && ngx_http_rtbus_name_job(id, buf, job) != NGX_OK) {
        return NGX_RTBUS_REASON_JOB_ID;
    }

    return ngx_http_rtbus_command_dedupe(asker, in, &m[0].value, dedupe);
}


/*
 * What one user has sent must not hide what another sends: the id has the user
 * and the event in it, each behind its length.
 */

static ngx_uint_t
ngx_http_rtbus_command_dedupe(ngx_http_rtbus_asker_t *asker,
    ngx_http_rtbus_input_t *in, rtbus_json_value_t *value, ngx_str_t *dedupe)
{
    size_t   len;
    u_char  *p;

    if (value->type == RTBUS_JSON_NONE || value->type == RTBUS_JSON_NULL) {
        return RTBUS_REASON_NONE;
    }

    if (value->type != RTBUS_JSON_STRING) {
        return NGX_RTBUS_REASON_ACK_ID;
    }

    len = rtbus_json_unquote(NULL, &value->raw);

    if (len == 0) {
        return NGX_RTBUS_REASON_ACK_ID;
    }

    p = ngx_slprintf(dedupe->data, dedupe->data + NGX_HTTP_RTBUS_MAX_DEDUPE,
                     "%uz:%V:%uz:%V:", asker->user.len, &asker->user,
                     in->name.len, &in->name);

    if (len > (size_t) (dedupe->data + NGX_HTTP_RTBUS_MAX_DEDUPE - p)) {
        return NGX_RTBUS_REASON_ACK_ID;
    }

    p += rtbus_json_unquote(p, &value->raw);

    dedupe->len = p - dedupe->data;

    return RTBUS_REASON_NONE;
}


/* the text has been checked: its first byte tells */

static rtbus_json_type_e
ngx_http_rtbus_command_type(ngx_str_t *json)
{
    if (json->len == 0) {
        return RTBUS_JSON_NONE;
    }

    switch (json->data[0]) {

    case '{':
        return RTBUS_JSON_OBJECT;

    case '[':
        return RTBUS_JSON_ARRAY;

    case '"':
        return RTBUS_JSON_STRING;

    case 't':
    case 'f':
        return RTBUS_JSON_BOOL;

    case 'n':
        return RTBUS_JSON_NULL;

    default:
        return RTBUS_JSON_NUMBER;
    }
}


static ngx_http_rtbus_command_t *
ngx_http_rtbus_command_create(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    ngx_str_t *job, ngx_str_t *dedupe, ngx_uint_t wants)
{
    u_char                     *p;
    size_t                      len;
    ngx_queue_t                *q;
    ngx_http_rtbus_command_t   *cmd;
    ngx_http_rtbus_commands_t  *commands;

    commands = asker->worker->commands;

    /* the string of "same" is needed as long as others may look for it */

    len = (wants && dedupe->len) ? rule->stream.len + 1 + dedupe->len : 0;

    cmd = ngx_alloc(offsetof(ngx_http_rtbus_command_t, text) + len,
                    asker->log);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_memzero(cmd, offsetof(ngx_http_rtbus_command_t, text));

    cmd->worker = asker->worker;
    cmd->rule = rule;
    cmd->wants = wants;
    cmd->node.key = ++commands->number;

    cmd->parcel = ngx_http_rtbus_parcel_create(asker, rule, in, job, dedupe,
                                               wants ? cmd->node.key : 0);
    if (cmd->parcel == NULL) {
        ngx_free(cmd);
        return NULL;
    }

    commands->size += cmd->parcel->size;

    if (len) {
        p = ngx_cpymem(cmd->text, rule->stream.data, rule->stream.len);
        *p++ = ' ';
        ngx_memcpy(p, dedupe->data, dedupe->len);

        cmd->same.str.len = len;
        cmd->same.str.data = cmd->text;
        cmd->same.node.key = ngx_crc32_long(cmd->text, len);
    }

    if (commands->n == NGX_HTTP_RTBUS_MAX_COMMANDS
        && !ngx_queue_empty(&commands->orphans))
    {
        /* those that somebody waits for go first */

        q = ngx_queue_head(&commands->orphans);
        ngx_http_rtbus_command_done(ngx_queue_data(q, ngx_http_rtbus_command_t,
                                                   queue),
                                    NULL);
    }

    commands->n++;

    return cmd;
}


static void
ngx_http_rtbus_parcel_free(ngx_http_rtbus_command_t *cmd)
{
    if (cmd->parcel) {
        cmd->worker->commands->size -= cmd->parcel->size;

        ngx_free(cmd->parcel);
        cmd->parcel = NULL;
    }
}


static void
ngx_http_rtbus_command_owned(void *data, ngx_int_t rc)
{
    ngx_http_rtbus_command_t  *cmd = data;

    ngx_http_rtbus_outcome_t  outcome;

    cmd->owner = NULL;

    if (rc == NGX_OK && ngx_http_rtbus_command_send(cmd) == NGX_OK) {
        return;
    }

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    outcome.error = (rc == NGX_DECLINED) ? NGX_RTBUS_REASON_FORBIDDEN
                                         : NGX_RTBUS_REASON_UNAVAILABLE;

    ngx_http_rtbus_command_done(cmd, &outcome);
}


/* NGX_OK, or NGX_DECLINED: Redis is away; the command is left to the caller */

static ngx_int_t
ngx_http_rtbus_command_send(ngx_http_rtbus_command_t *cmd)
{
    ngx_str_node_t            *same;
    ngx_http_rtbus_parcel_t   *parcel;
    ngx_http_rtbus_command_t  *first;

    if (cmd->handler == NULL && cmd->same.str.len == 0) {
        /* who wanted the answer is gone */
        cmd->wants = 0;
    }

    if (cmd->wants && cmd->same.str.len) {

        same = ngx_str_rbtree_lookup(&cmd->worker->commands->same,
                                     &cmd->same.str, cmd->same.node.key);
        if (same) {

            /* it is under way: one answer for all who have asked */

            first = ngx_queue_data(same, ngx_http_rtbus_command_t, same);

            cmd->node.key = first->node.key;
            ngx_http_rtbus_command_wait(cmd);

            return NGX_OK;
        }
    }

    parcel = cmd->parcel;

    cmd->call = ngx_rtbus_redis_call(&cmd->worker->hub.shards, parcel->argc,
                                     parcel->argv, parcel->len,
                                     ngx_http_rtbus_command_reply, cmd);
    if (cmd->call == NULL) {
        return NGX_DECLINED;
    }

    if (cmd->wants) {
        ngx_http_rtbus_command_wait(cmd);

    } else {
        ngx_http_rtbus_parcel_free(cmd);
    }

    return NGX_OK;
}


/* the answer may come before Redis's own reply: it is another connection */

static void
ngx_http_rtbus_command_wait(ngx_http_rtbus_command_t *cmd)
{
    ngx_http_rtbus_commands_t  *commands;

    commands = cmd->worker->commands;

    ngx_http_rtbus_parcel_free(cmd);

    ngx_rbtree_insert(&commands->waiting, &cmd->node);
    cmd->waiting = 1;

    if (cmd->same.str.len) {
        ngx_rbtree_insert(&commands->same, &cmd->same.node);
        cmd->known = 1;
    }

    cmd->timer.handler = ngx_http_rtbus_command_timeout;
    cmd->timer.data = cmd;
    cmd->timer.log = ngx_cycle->log;

    cmd->timer.cancelable = commands->late;

    ngx_add_timer(&cmd->timer, cmd->rule->reply);

    if (cmd->handler == NULL) {
        ngx_http_rtbus_command_leave(cmd);
    }
}


static void
ngx_http_rtbus_command_reply(void *data, redisReply *reply)
{
    ngx_http_rtbus_command_t  *cmd = data;

    ngx_http_rtbus_outcome_t  outcome;

    cmd->call = NULL;

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[0]->type == REDIS_REPLY_STRING
        && reply->element[1]->type == REDIS_REPLY_INTEGER
        && reply->element[1]->integer < 0)
    {
        ngx_http_rtbus_command_full(cmd);
        outcome.error = NGX_RTBUS_REASON_BUSY;

    } else if (reply && reply->type == REDIS_REPLY_ARRAY
               && reply->elements == 2
               && reply->element[0]->type == REDIS_REPLY_STRING
               && reply->element[1]->type == REDIS_REPLY_INTEGER)
    {
        if (cmd->waiting && reply->element[1]->integer) {
            /* it is the producer's turn */
            return;
        }

        outcome.id.data = (u_char *) reply->element[0]->str;
        outcome.id.len = reply->element[0]->len;
        outcome.seen = !reply->element[1]->integer;
        outcome.duplicate = cmd->waiting;

    } else {
        ngx_http_rtbus_command_failed(cmd, reply);
        outcome.error = NGX_RTBUS_REASON_UNAVAILABLE;
    }

    if (cmd->waiting) {
        (void) ngx_http_rtbus_command_finish(cmd->worker, cmd->node.key,
                                             &outcome);
        return;
    }

    ngx_http_rtbus_command_done(cmd, &outcome);
}


static void
ngx_http_rtbus_command_full(ngx_http_rtbus_command_t *cmd)
{
    ngx_http_rtbus_commands_t  *commands;

    commands = cmd->worker->commands;

    if (commands->complained == ngx_time()) {
        return;
    }

    commands->complained = ngx_time();

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "rtbus: stream \"%V\" is full of commands that its producers "
                  "have not acknowledged", &cmd->rule->stream);
}


static void
ngx_http_rtbus_command_failed(ngx_http_rtbus_command_t *cmd, redisReply *reply)
{
    const char                 *reason;
    ngx_http_rtbus_commands_t  *commands;

    if (reply == NULL) {
        /* the connection to Redis has logged why */
        return;
    }

    reason = (reply->type == REDIS_REPLY_ERROR) ? reply->str
                                                : "unexpected reply";

    if (ngx_rtbus_library_missing(reply)) {
        reason = "function library rtbus is not loaded";
        ngx_rtbus_hub_library_lost(&cmd->worker->hub);
    }

    commands = cmd->worker->commands;

    if (commands->complained == ngx_time()) {
        return;
    }

    commands->complained = ngx_time();

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "rtbus: no command for stream \"%V\": %s",
                  &cmd->rule->stream, reason);
}


static void
ngx_http_rtbus_command_timeout(ngx_event_t *ev)
{
    ngx_http_rtbus_command_t  *cmd;
    ngx_http_rtbus_outcome_t   outcome;

    cmd = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus: command timed out, ack:%ui", cmd->node.key);

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    outcome.error = NGX_RTBUS_REASON_TIMEOUT;

    ngx_http_rtbus_command_done(cmd, &outcome);
}


/* {"ack":<number>,"data":[...],"attachments":[...]} */

static void
ngx_http_rtbus_command_answered(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_http_rtbus_worker_t  *worker = data;

    uint64_t                   number;
    rtbus_str_t                raw;
    rtbus_reason_e             reason;
    rtbus_json_member_t        m[] = { rtbus_json_member("data"),
                                       rtbus_json_member("attachments") };
    ngx_http_rtbus_outcome_t   outcome;

    /* fields of a stream are strings, and some producers leave it at that */

    raw = value->raw;

    if (value->type == RTBUS_JSON_STRING) {
        raw.data++;
        raw.len -= 2;
    }

    rtbus_json_members(message, m, 2);

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    outcome.data = m[0].value;

    if (m[1].value.type != RTBUS_JSON_NONE
        && m[1].value.type != RTBUS_JSON_NULL)
    {
        outcome.attachments = m[1].value.raw;

        reason = rtbus_attachments_check(&outcome.attachments,
                                         &outcome.data.raw);
        if (reason) {
            ngx_rtbus_hub_invalid(&worker->hub, &worker->hub.mailbox.name,
                                  reason);
            outcome.error = NGX_RTBUS_REASON_REPLY;
            outcome.attachments.len = 0;
        }
    }

    if (rtbus_json_uint(&raw, &number) != RTBUS_OK
        || !ngx_http_rtbus_command_finish(worker, number, &outcome))
    {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "rtbus: answer to no command, ack:%*s",
                       (size_t) raw.len, raw.data);
    }
}


/* all those that wait for this number; how many they were */

static ngx_uint_t
ngx_http_rtbus_command_finish(ngx_http_rtbus_worker_t *worker,
    uint64_t number, ngx_http_rtbus_outcome_t *outcome)
{
    ngx_uint_t                  n;
    ngx_rbtree_node_t          *node, *sentinel;
    ngx_http_rtbus_commands_t  *commands;

    commands = worker->commands;
    sentinel = &commands->waiting_sentinel;

    n = 0;
    node = commands->waiting.root;

    while (node != sentinel) {

        if (number != node->key) {
            node = (number < node->key) ? node->left : node->right;
            continue;
        }

        ngx_http_rtbus_command_done(ngx_rbtree_data(node,
                                                    ngx_http_rtbus_command_t,
                                                    node),
                                    outcome);
        n++;
        node = commands->waiting.root;
    }

    return n;
}


/* the end of every command; outcome may be NULL when nobody waits for it */

static void
ngx_http_rtbus_command_done(ngx_http_rtbus_command_t *cmd,
    ngx_http_rtbus_outcome_t *outcome)
{
    ngx_http_rtbus_commands_t  *commands;

    if (outcome) {
        ngx_http_rtbus_command_count(cmd->worker->hub.stat, outcome);
    }

    commands = cmd->worker->commands;

    if (cmd->timer.timer_set) {
        ngx_del_timer(&cmd->timer);
    }

    if (cmd->waiting) {
        ngx_rbtree_delete(&commands->waiting, &cmd->node);
    }

    if (cmd->known) {
        ngx_rbtree_delete(&commands->same, &cmd->same.node);
    }

    if (cmd->orphan) {
        ngx_queue_remove(&cmd->queue);
    }

    if (cmd->call) {
        ngx_rtbus_redis_cmd_cancel(cmd->call);
    }

    ngx_http_rtbus_parcel_free(cmd);

    commands->n--;

    if (cmd->handler) {
        cmd->handler(cmd->data, cmd, outcome);
    }

    ngx_free(cmd);
}


static void
ngx_http_rtbus_command_count(ngx_rtbus_stat_t *stat,
    ngx_http_rtbus_outcome_t *outcome)
{
    if (outcome->error) {
        ngx_rtbus_reason_command(stat, outcome->error);

    } else if (outcome->id.len == 0) {
        ngx_rtbus_stat_add(stat, commands[NGX_RTBUS_STAT_CMD_REPLIED], 1);

    } else if (outcome->seen) {
        ngx_rtbus_stat_add(stat, commands[NGX_RTBUS_STAT_CMD_DUPLICATE], 1);

    } else {
        ngx_rtbus_stat_add(stat, commands[NGX_RTBUS_STAT_CMD_OK], 1);
    }
}


void
ngx_http_rtbus_commands_late(ngx_http_rtbus_worker_t *worker)
{
    ngx_rbtree_node_t          *node;
    ngx_http_rtbus_command_t   *cmd;
    ngx_http_rtbus_commands_t  *commands;

    commands = worker->commands;
    commands->late = 1;

    if (commands->waiting.root == commands->waiting.sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(commands->waiting.root,
                               commands->waiting.sentinel);
         node;
         node = ngx_rbtree_next(&commands->waiting, node))
    {
        cmd = ngx_rbtree_data(node, ngx_http_rtbus_command_t, node);

        cmd->timer.cancelable = 1;
    }
}


void
ngx_http_rtbus_command_leave(ngx_http_rtbus_command_t *cmd)
{
    cmd->handler = NULL;

    if (cmd->owner) {
        /* it was sent before its sender left: it goes on */
        return;
    }

    if (cmd->known) {

        /* the sender may come back and ask again for the answer */

        cmd->timer.cancelable = 1;
        cmd->orphan = 1;
        ngx_queue_insert_tail(&cmd->worker->commands->orphans, &cmd->queue);

        return;
    }

    ngx_rtbus_stat_add(cmd->worker->hub.stat,
                       commands[NGX_RTBUS_STAT_CMD_GONE], 1);

    ngx_http_rtbus_command_done(cmd, NULL);
}
