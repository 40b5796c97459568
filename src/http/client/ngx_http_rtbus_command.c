
#include "ngx_http_rtbus_command.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_text.h"
#include "ngx_rtbus_owner.h"
#include "rtbus_attachments.h"


/* commands under way, of all the worker's clients */
#define NGX_HTTP_RTBUS_MAX_COMMANDS  16384

/* bytes of those that wait for Redis to say whose the job is */
#define NGX_HTTP_RTBUS_MAX_PARCELS   (64 * 1024 * 1024)

/* what the function takes for maxlen, and for a dedupe id, see conf/rtbus.lua */
#define NGX_HTTP_RTBUS_STREAM_MAXLEN  1000000000
#define NGX_HTTP_RTBUS_MAX_DEDUPE    200

/* FCALL rtbus_command 1 <stream> <dedupe id> MAXLEN <n>, and eleven fields */
#define NGX_HTTP_RTBUS_COMMAND_ARGS  (7 + 2 * 11)


/* the call of a command, whole, until it is made; malloc'ed */

typedef struct ngx_http_rtbus_parcel_s {
    size_t         size;
    int            argc;
    const char    *argv[NGX_HTTP_RTBUS_COMMAND_ARGS];
    size_t         len[NGX_HTTP_RTBUS_COMMAND_ARGS];
    u_char         text[1];
} ngx_http_rtbus_parcel_t;


static const ngx_http_rtbus_command_rule_t *ngx_http_rtbus_command_rule(
    ngx_array_t *rules, ngx_str_t *name, ngx_uint_t exact);
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
static ngx_http_rtbus_parcel_t *ngx_http_rtbus_command_pack(
    ngx_http_rtbus_asker_t *asker, const ngx_http_rtbus_command_rule_t *rule,
    ngx_http_rtbus_input_t *in, ngx_str_t *job, ngx_str_t *dedupe,
    uint64_t ack);
static ngx_uint_t ngx_http_rtbus_command_single(u_char *p, size_t len);
static void ngx_http_rtbus_parcel_arg(ngx_http_rtbus_parcel_t *parcel,
    const u_char *p, size_t len);
static u_char *ngx_http_rtbus_parcel_copy(ngx_http_rtbus_parcel_t *parcel,
    u_char *dst, ngx_str_t *value);
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


#define ngx_http_rtbus_parcel_word(parcel, word)                              \
    ngx_http_rtbus_parcel_arg(parcel, (const u_char *) word, sizeof(word) - 1)


void
ngx_http_rtbus_command_init(ngx_http_rtbus_worker_t *worker)
{
    ngx_http_rtbus_commands_t  *commands;

    commands = &worker->commands;

    ngx_rbtree_init(&commands->waiting, &commands->waiting_sentinel,
                    ngx_rbtree_insert_value);
    ngx_rbtree_init(&commands->same, &commands->same_sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&commands->orphans);

    ngx_rtbus_mailbox_handle(&worker->hub.mailbox, "ack",
                             ngx_http_rtbus_command_answered, worker);
}


void
ngx_http_rtbus_command_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_rbtree_t              *tree;
    ngx_http_rtbus_command_t  *cmd;

    tree = &worker->commands.waiting;

    while (tree->root && tree->root != tree->sentinel) {
        cmd = ngx_rbtree_data(tree->root, ngx_http_rtbus_command_t, node);

        cmd->handler = NULL;
        ngx_http_rtbus_command_done(cmd, NULL);
    }
}


/* the first rule that the name fits; exact: no "*" counts */

static const ngx_http_rtbus_command_rule_t *
ngx_http_rtbus_command_rule(ngx_array_t *rules, ngx_str_t *name,
    ngx_uint_t exact)
{
    ngx_uint_t                      i;
    ngx_http_rtbus_command_rule_t  *rule;

    if (rules == NULL) {
        return NULL;
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {

        if (rule[i].prefix ? exact || rule[i].name.len > name->len
                           : rule[i].name.len != name->len)
        {
            continue;
        }

        if (ngx_memcmp(name->data, rule[i].name.data, rule[i].name.len) == 0) {
            return &rule[i];
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_rtbus_command_wanted(ngx_array_t *rules, const char *name)
{
    ngx_str_t  s;

    s.len = ngx_strlen(name);
    s.data = (u_char *) name;

    return ngx_http_rtbus_command_rule(rules, &s, 1) != NULL;
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
            refused->text = asker->worker->commands.invalid;
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

    commands = &asker->worker->commands;

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
                      "client without a user sent command %V",
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
                               asker->worker->commands.invalid)
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

    commands = &asker->worker->commands;

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

    cmd->parcel = ngx_http_rtbus_command_pack(asker, rule, in, job, dedupe,
                                              wants ? cmd->node.key : 0);
    if (cmd->parcel == NULL) {
        ngx_free(cmd);
        return NULL;
    }

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


/* ack: its number, 0: no answer is asked for */

static ngx_http_rtbus_parcel_t *
ngx_http_rtbus_command_pack(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    ngx_str_t *job, ngx_str_t *dedupe, uint64_t ack)
{
    u_char                   *p, *start;
    size_t                    len;
    ngx_str_t                *prefix, null, id;
    ngx_time_t               *tp;
    ngx_rtbus_hub_t          *hub;
    ngx_http_rtbus_parcel_t  *parcel;

    hub = &asker->worker->hub;
    prefix = &hub->prefix;

    len = prefix->len + rule->stream.len + dedupe->len + in->name.len
          + in->data.len + sizeof("null") - 1 + in->args.len + sizeof("[]") - 1
          + in->attachments.len + job->len + asker->user.len + asker->sid.len
          + asker->nsp.len + 3 * NGX_INT64_LEN;

    len += offsetof(ngx_http_rtbus_parcel_t, text);

    parcel = ngx_alloc(len, asker->log);
    if (parcel == NULL) {
        return NULL;
    }

    asker->worker->commands.size += len;

    parcel->size = len;
    parcel->argc = 0;
    p = parcel->text;

    ngx_http_rtbus_parcel_word(parcel, "FCALL");
    ngx_http_rtbus_parcel_word(parcel, "rtbus_command");
    ngx_http_rtbus_parcel_word(parcel, "1");

    start = p;
    p = ngx_cpymem(p, prefix->data, prefix->len);
    p = ngx_cpymem(p, rule->stream.data, rule->stream.len);
    ngx_http_rtbus_parcel_arg(parcel, start, p - start);

    p = ngx_http_rtbus_parcel_copy(parcel, p, dedupe);

    if (rule->maxlen) {
        ngx_http_rtbus_parcel_word(parcel, "MAXLEN");
        start = p;
        p = ngx_sprintf(p, "%ui", rule->maxlen);
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    ngx_http_rtbus_parcel_word(parcel, "event");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &in->name);

    ngx_str_set(&null, "null");

    ngx_http_rtbus_parcel_word(parcel, "data");
    p = ngx_http_rtbus_parcel_copy(parcel, p, in->data.len ? &in->data
                                                           : &null);

    start = p;
    *p++ = '[';

    if (in->args.len) {
        p = ngx_cpymem(p, in->args.data, in->args.len);
    }

    *p++ = ']';

    if (ngx_http_rtbus_command_single(start, p - start)) {
        /* the data is all there is, and is not kept twice */
        p = start;

    } else {
        ngx_http_rtbus_parcel_word(parcel, "args");
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    if (in->attachments.len) {
        ngx_http_rtbus_parcel_word(parcel, "attachments");
        p = ngx_http_rtbus_parcel_copy(parcel, p, &in->attachments);
    }

    if (job->len) {
        id.len = job->len - (sizeof("job:") - 1);
        id.data = job->data + sizeof("job:") - 1;

        ngx_http_rtbus_parcel_word(parcel, "job");
        p = ngx_http_rtbus_parcel_copy(parcel, p, &id);
    }

    ngx_http_rtbus_parcel_word(parcel, "user");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->user);

    ngx_http_rtbus_parcel_word(parcel, "sid");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->sid);

    ngx_http_rtbus_parcel_word(parcel, "nsp");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->nsp);

    tp = ngx_timeofday();

    ngx_http_rtbus_parcel_word(parcel, "ts");
    start = p;
    p = ngx_sprintf(p, "%uL", (uint64_t) tp->sec * 1000 + tp->msec);
    ngx_http_rtbus_parcel_arg(parcel, start, p - start);

    ngx_http_rtbus_parcel_word(parcel, "reply");
    ngx_http_rtbus_parcel_arg(parcel, hub->mailbox.name.data,
                              hub->mailbox.name.len);

    if (ack) {
        ngx_http_rtbus_parcel_word(parcel, "ack");
        start = p;
        p = ngx_sprintf(p, "%uL", ack);
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    return parcel;
}


/* has the array just one element */

static ngx_uint_t
ngx_http_rtbus_command_single(u_char *p, size_t len)
{
    rtbus_str_t          raw;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    raw.data = p;
    raw.len = len;
    pos = NULL;

    return rtbus_json_next(&value, &pos, &raw) == RTBUS_OK
           && rtbus_json_next(&value, &pos, &raw) != RTBUS_OK;
}


static void
ngx_http_rtbus_parcel_arg(ngx_http_rtbus_parcel_t *parcel, const u_char *p,
    size_t len)
{
    parcel->argv[parcel->argc] = (const char *) p;
    parcel->len[parcel->argc] = len;
    parcel->argc++;
}


static u_char *
ngx_http_rtbus_parcel_copy(ngx_http_rtbus_parcel_t *parcel, u_char *dst,
    ngx_str_t *value)
{
    ngx_http_rtbus_parcel_arg(parcel, dst, value->len);

    return value->len ? ngx_cpymem(dst, value->data, value->len) : dst;
}


static void
ngx_http_rtbus_parcel_free(ngx_http_rtbus_command_t *cmd)
{
    if (cmd->parcel) {
        cmd->worker->commands.size -= cmd->parcel->size;

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

        same = ngx_str_rbtree_lookup(&cmd->worker->commands.same,
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

    commands = &cmd->worker->commands;

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

    commands = &cmd->worker->commands;

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

    commands = &cmd->worker->commands;

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
                   "rtbus command timed out, ack:%ui", cmd->node.key);

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

    /* the fields of a stream are strings, and some producers leave it at that */

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
                       "rtbus answer to no command, ack:%*s",
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

    commands = &worker->commands;
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

    commands = &cmd->worker->commands;

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

    commands = &worker->commands;
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
        ngx_queue_insert_tail(&cmd->worker->commands.orphans, &cmd->queue);

        return;
    }

    ngx_rtbus_stat_add(cmd->worker->hub.stat,
                       commands[NGX_RTBUS_STAT_CMD_GONE], 1);

    ngx_http_rtbus_command_done(cmd, NULL);
}


size_t
ngx_http_rtbus_command_json(ngx_http_rtbus_outcome_t *outcome, u_char *dst)
{
    u_char      *p;
    size_t       len;
    const char  *text;

    if (outcome->error == RTBUS_REASON_NONE) {
        return ngx_snprintf(dst, NGX_HTTP_RTBUS_OUTCOME_MAX,
                            "{\"ok\":true,\"id\":\"%V\"%s}", &outcome->id,
                            outcome->duplicate ? ",\"duplicate\":true" : "")
               - dst;
    }

    text = ngx_http_rtbus_outcome_text(outcome);
    len = ngx_strlen(text);

    while (rtbus_json_quote(NULL, (u_char *) text, len)
           > NGX_HTTP_RTBUS_OUTCOME_MAX - sizeof("{\"ok\":false,\"error\":}"))
    {
        len--;
    }

    p = ngx_cpymem(dst, "{\"ok\":false,\"error\":",
                   sizeof("{\"ok\":false,\"error\":") - 1);
    p += rtbus_json_quote(p, (u_char *) text, len);
    *p++ = '}';

    return p - dst;
}


char *
ngx_http_rtbus_command(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    u_char                         *p, *last, *open, *close;
    ngx_str_t                      *value, s;
    ngx_int_t                       n;
    ngx_uint_t                      i;
    ngx_http_rtbus_command_rule_t  *rule;

    if (rlcf->commands == NGX_CONF_UNSET_PTR) {
        rlcf->commands = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_rtbus_command_rule_t));
        if (rlcf->commands == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(rlcf->commands);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(ngx_http_rtbus_command_rule_t));

    value = cf->args->elts;

    ngx_str_set(&rule->stream, "rtbus:commands");
    rule->name = value[1];

    if (rule->name.len && rule->name.data[rule->name.len - 1] == '*') {
        rule->prefix = 1;
        rule->name.len--;
    }

    if ((rule->name.len == 0 && !rule->prefix)
        || rule->name.len > RTBUS_EVENT_NAME_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid event name \"%V\", it must have 1 to %d "
                           "bytes", &value[1], RTBUS_EVENT_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    last = rule->name.data + rule->name.len;

    for (p = rule->name.data; p < last; p++) {
        if (*p < ' ' || *p == 0x7f || *p == '*') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in event name \"%V\", a "
                               "\"*\" may be at its end only", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "stream=", 7) == 0) {
            rule->stream.data = value[i].data + 7;
            rule->stream.len = value[i].len - 7;

        } else if (ngx_strncmp(value[i].data, "maxlen=", 7) == 0) {
            n = ngx_atoi(value[i].data + 7, value[i].len - 7);

            if (n < 1 || n > NGX_HTTP_RTBUS_STREAM_MAXLEN) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid number in \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            rule->maxlen = n;

        } else if (ngx_strncmp(value[i].data, "job=", 4) == 0
                   && value[i].len > 4)
        {
            rule->job.data = value[i].data + 4;
            rule->job.len = value[i].len - 4;

        } else if (ngx_strncmp(value[i].data, "reply=", 6) == 0) {
            s.data = value[i].data + 6;
            s.len = value[i].len - 6;

            rule->reply = ngx_parse_time(&s, 0);

            if (rule->reply == (ngx_msec_t) NGX_ERROR || rule->reply == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid time in \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

        } else if (ngx_strcmp(value[i].data, "owner") == 0) {
            rule->owner = 1;

        } else if (ngx_strcmp(value[i].data, "claim") == 0) {
            rule->claim = 1;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (rule->owner && rule->claim) {
        return "takes either \"owner\" or \"claim\"";
    }

    if ((rule->owner || rule->claim) && rule->job.len == 0) {
        return "needs \"job=\" with \"owner\" or \"claim\"";
    }

    if (rule->name.len && rule->name.data[0] == '@') {

        if (rule->prefix
            || (ngx_strcmp(value[1].data, "@connect") != 0
                && ngx_strcmp(value[1].data, "@disconnect") != 0))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "there is no event \"%V\", only \"@connect\" "
                               "and \"@disconnect\"", &value[1]);
            return NGX_CONF_ERROR;
        }

        if (rule->job.len || rule->reply) {
            return "takes only \"stream=\" and \"maxlen=\" for events that no "
                   "client sends";
        }
    }

    /* the function puts the ids of commands into the slot of the stream */

    if (rule->stream.len == 0 || rule->stream.len > NGX_HTTP_RTBUS_STREAM_MAX)
    {
        goto invalid;
    }

    last = rule->stream.data + rule->stream.len;

    for (p = rule->stream.data; p < last; p++) {
        if (*p <= ' ' || *p > '~') {
            goto invalid;
        }
    }

    open = ngx_strlchr(rule->stream.data, last, '{');
    close = open ? ngx_strlchr(open, last, '}') : NULL;

    if (ngx_strlchr(rule->stream.data, last, '}')
        && (close == NULL || close == open + 1))
    {
        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid stream \"%V\"",
                       &rule->stream);

    return NGX_CONF_ERROR;
}
