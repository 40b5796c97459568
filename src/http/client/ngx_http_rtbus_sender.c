
#include "ngx_http_rtbus_sender.h"
#include "ngx_http_rtbus_relay.h"


/* commands under way that one client may have */
#define NGX_HTTP_RTBUS_MAX_SENT  64

/* ms that one is remembered that has moved, after the last that came for it */
#define NGX_HTTP_RTBUS_SENDER_KEPT  600000


/* of a worker; in cycle->pool */

struct ngx_http_rtbus_senders_s {
    ngx_rbtree_t              tree;        /* by sid */
    ngx_rbtree_node_t         sentinel;
    ngx_queue_t               moved;       /* those that other workers have */
    ngx_uint_t                nmoved;
    ngx_event_t               forget;      /* timer: of the first of them */
};


/* where the client of a sender is now, which has none itself; malloc'ed */

typedef struct {
    ngx_queue_t               queue;       /* senders->moved */
    ngx_msec_t                until;
    ngx_http_rtbus_worker_t  *worker;
    ngx_http_rtbus_sender_t  *sender;
    u_char                    to[NGX_RTBUS_MAILBOX_ID_LEN];
    u_char                    sid[NGX_HTTP_RTBUS_CLIENT_SID];
} ngx_http_rtbus_moved_t;


struct ngx_http_rtbus_sender_s {
    ngx_str_node_t            node;        /* senders->tree; the sid */
    ngx_http_rtbus_client_t  *cli;
    ngx_queue_t               commands;
    ngx_uint_t                n;
    ngx_str_t                 auth;        /* until "@connect" is sent */
    ngx_http_rtbus_moved_t   *moved;       /* NULL: it has not */
    unsigned                  listed:1;
};


/* members of an outcome that is passed on, in the order of the table */

enum {
    PASSED_NUMBER = 0,
    PASSED_DUPLICATE,
    PASSED_ERROR,
    PASSED_ID,
    PASSED_DATA,
    PASSED_ATTACHMENTS,
    PASSED_N
};


static ngx_http_rtbus_sender_t *ngx_http_rtbus_sender_create(
    ngx_http_rtbus_client_t *cli);
static void ngx_http_rtbus_sender_list(ngx_http_rtbus_sender_t *sender);
static void ngx_http_rtbus_sender_asker(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_asker_t *asker);
static ngx_uint_t ngx_http_rtbus_sender_secret(
    ngx_http_rtbus_loc_conf_t *conf, rtbus_json_value_t *name,
    rtbus_json_value_t *value);
static void ngx_http_rtbus_sender_outcome(void *data,
    ngx_http_rtbus_command_t *cmd, ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_sender_tell(ngx_http_rtbus_client_t *cli,
    uint64_t number, ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_sender_event(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);
static ngx_http_rtbus_sender_t *ngx_http_rtbus_sender_find(
    ngx_http_rtbus_worker_t *worker, rtbus_json_value_t *value);
static void ngx_http_rtbus_sender_pass(ngx_http_rtbus_sender_t *sender,
    ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_sender_pass_outcome(
    ngx_http_rtbus_sender_t *sender, uint64_t ack,
    ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_sender_passed(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message);
static void ngx_http_rtbus_sender_forget(ngx_http_rtbus_sender_t *sender);
static void ngx_http_rtbus_sender_free(ngx_http_rtbus_sender_t *sender,
    ngx_http_rtbus_worker_t *worker);
static void ngx_http_rtbus_sender_expire(ngx_event_t *ev);


ngx_int_t
ngx_http_rtbus_sender_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    ngx_http_rtbus_senders_t  *senders;

    senders = ngx_pcalloc(cycle->pool, sizeof(ngx_http_rtbus_senders_t));
    if (senders == NULL) {
        return NGX_ERROR;
    }

    worker->senders = senders;

    ngx_rbtree_init(&senders->tree, &senders->sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&senders->moved);

    senders->forget.handler = ngx_http_rtbus_sender_expire;
    senders->forget.data = senders;
    senders->forget.log = worker->hub.log;
    senders->forget.cancelable = 1;

    ngx_rtbus_mailbox_handle(&worker->hub.mailbox, "sid",
                             ngx_http_rtbus_sender_event, worker);
    ngx_rtbus_mailbox_handle(&worker->hub.mailbox, "outcome",
                             ngx_http_rtbus_sender_passed, worker);

    return NGX_OK;
}


static ngx_http_rtbus_sender_t *
ngx_http_rtbus_sender_create(ngx_http_rtbus_client_t *cli)
{
    ngx_http_rtbus_sender_t  *sender;

    if (cli->sender) {
        return cli->sender;
    }

    sender = ngx_calloc(sizeof(ngx_http_rtbus_sender_t),
                        cli->carrier->log);
    if (sender == NULL) {
        return NULL;
    }

    sender->cli = cli;
    ngx_queue_init(&sender->commands);

    cli->sender = sender;

    return sender;
}


static void
ngx_http_rtbus_sender_list(ngx_http_rtbus_sender_t *sender)
{
    ngx_str_t                *sid;
    ngx_uint_t                hash;
    ngx_str_node_t           *node;
    ngx_rbtree_t             *tree;
    ngx_http_rtbus_sender_t  *old;

    if (sender->listed) {
        return;
    }

    tree = &sender->cli->carrier->worker->senders->tree;
    sid = &sender->cli->sid;
    hash = ngx_crc32_short(sid->data, sid->len);

    /* a socket that was recovered while its old connection has not ended yet */

    node = ngx_str_rbtree_lookup(tree, sid, hash);

    if (node) {
        old = ngx_queue_data(node, ngx_http_rtbus_sender_t, node);
        old->listed = 0;

        ngx_rbtree_delete(tree, &node->node);

        if (old->moved) {
            ngx_http_rtbus_sender_forget(old);
        }
    }

    sender->node.node.key = hash;
    sender->node.str = *sid;
    sender->listed = 1;

    ngx_rbtree_insert(tree, &sender->node.node);
}


static void
ngx_http_rtbus_sender_asker(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_asker_t *asker)
{
    asker->worker = cli->carrier->worker;
    asker->rules = cli->carrier->conf->commands;
    asker->user = cli->user;
    asker->sid = cli->sid;
    asker->log = cli->carrier->log;

    if (cli->nsp) {
        asker->nsp = *cli->nsp;

    } else {
        ngx_str_set(&asker->nsp, "/");
    }
}


ngx_int_t
ngx_http_rtbus_sender_command(ngx_http_rtbus_client_t *cli,
    ngx_http_rtbus_input_t *in, uint64_t *ack,
    ngx_http_rtbus_outcome_t *refused)
{
    ngx_http_rtbus_asker_t     asker;
    ngx_http_rtbus_sender_t   *sender;
    ngx_http_rtbus_command_t  *cmd;

    if (cli->carrier->conf->commands == NULL) {
        refused->error = NGX_RTBUS_REASON_EVENT;
        return NGX_DECLINED;
    }

    sender = ngx_http_rtbus_sender_create(cli);
    if (sender == NULL) {
        return NGX_ERROR;
    }

    if (sender->n == NGX_HTTP_RTBUS_MAX_SENT) {
        refused->error = NGX_RTBUS_REASON_REQUESTS;
        return NGX_DECLINED;
    }

    ngx_http_rtbus_sender_asker(cli, &asker);

    cmd = ngx_http_rtbus_command_run(&asker, in, ack != NULL,
                                     ngx_http_rtbus_sender_outcome, sender,
                                     refused);
    if (cmd == NULL) {
        return refused->error ? NGX_DECLINED : NGX_ERROR;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                   "rtbus: command \"%V\" under way, commands:%ui",
                   &in->name, sender->n + 1);

    cmd->ack = ack ? *ack : NGX_HTTP_RTBUS_NO_ACK;

    ngx_queue_insert_tail(&sender->commands, &cmd->queue);
    sender->n++;

    ngx_http_rtbus_sender_list(sender);

    return NGX_OK;
}


static void
ngx_http_rtbus_sender_outcome(void *data, ngx_http_rtbus_command_t *cmd,
    ngx_http_rtbus_outcome_t *outcome)
{
    ngx_http_rtbus_sender_t  *sender = data;

    ngx_http_rtbus_client_t  *cli;

    cli = sender->cli;

    ngx_queue_remove(&cmd->queue);
    sender->n--;

    if (cli) {
        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, cli->carrier->log, 0,
                       "rtbus: command ends, error:%ui id:\"%V\" commands:%ui",
                       outcome->error, &outcome->id, sender->n);
    }

    if (sender->moved) {
        ngx_http_rtbus_sender_pass_outcome(sender, cmd->ack, outcome);
        return;
    }

    if (!ngx_http_rtbus_carrier_closing(cli->carrier)) {
        ngx_http_rtbus_sender_tell(cli, cmd->ack, outcome);
    }
}


static void
ngx_http_rtbus_sender_tell(ngx_http_rtbus_client_t *cli, uint64_t number,
    ngx_http_rtbus_outcome_t *outcome)
{
    uint64_t   *ack;
    ngx_int_t   rc;
    ngx_str_t   json;
    u_char      buf[NGX_HTTP_RTBUS_OUTCOME_MAX];

    ack = (number == NGX_HTTP_RTBUS_NO_ACK) ? NULL : &number;

    if (outcome->error) {
        rc = ngx_http_rtbus_client_error(cli, outcome->error, outcome->text, 0,
                                         ack);

    } else if (ack == NULL) {
        return;

    } else if (outcome->id.len) {
        json.data = buf;
        json.len = ngx_http_rtbus_outcome_json(outcome, buf);

        rc = cli->protocol->ack(cli, *ack, &json);

    } else {
        rc = cli->protocol->answer(cli, *ack, &outcome->data,
                                   &outcome->attachments);
    }

    if (rc != NGX_OK) {
        ngx_http_rtbus_carrier_nomem(cli->carrier);
    }
}


/* {"sid":"...","event":"...","data":...}, "args" and "attachments" as ever */

static void
ngx_http_rtbus_sender_event(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_http_rtbus_worker_t  *worker = data;

    rtbus_reason_e            reason;
    rtbus_event_t             event;
    rtbus_json_member_t       m[] = { rtbus_json_member("passed") };
    ngx_http_rtbus_text_t     text;
    ngx_http_rtbus_sender_t  *sender;

    sender = ngx_http_rtbus_sender_find(worker, value);

    if (sender && sender->moved) {

        /* as it is, and once: two that lack it must not go on for ever */

        rtbus_json_members(message, m, 1);

        if (m[0].value.type == RTBUS_JSON_NONE) {
            ngx_http_rtbus_text_init(&text, worker->hub.log);
            ngx_http_rtbus_text_add(&text, message->data, message->len - 1);
            ngx_http_rtbus_text_lit(&text, ",\"passed\":true");

            ngx_http_rtbus_sender_pass(sender, &text);
        }

        return;
    }

    if (sender == NULL) {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                       "rtbus: event for no client, sid:%*s",
                       value->raw.len, value->raw.data);
        return;
    }

    if (rtbus_event_parse(worker->hub.json, &event, message->data,
                          message->len, &reason)
        != RTBUS_OK)
    {
        ngx_rtbus_hub_invalid(&worker->hub, &worker->hub.mailbox.name, reason);
        return;
    }

    ngx_http_rtbus_client_send(sender->cli, &event, NULL);
}


static ngx_http_rtbus_sender_t *
ngx_http_rtbus_sender_find(ngx_http_rtbus_worker_t *worker,
    rtbus_json_value_t *value)
{
    ngx_str_t        sid;
    ngx_str_node_t  *node;
    u_char           buf[NGX_HTTP_RTBUS_CLIENT_SID];

    if (value->type != RTBUS_JSON_STRING
        || rtbus_json_unquote(NULL, &value->raw) > sizeof(buf))
    {
        return NULL;
    }

    sid.data = buf;
    sid.len = rtbus_json_unquote(buf, &value->raw);

    node = ngx_str_rbtree_lookup(&worker->senders->tree, &sid,
                                 ngx_crc32_short(sid.data, sid.len));

    return node ? ngx_queue_data(node, ngx_http_rtbus_sender_t, node) : NULL;
}


void
ngx_http_rtbus_sender_move(ngx_http_rtbus_client_t *cli, ngx_str_t *to)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_moved_t    *moved, *old;
    ngx_http_rtbus_worker_t   *worker;
    ngx_http_rtbus_sender_t   *sender;
    ngx_http_rtbus_senders_t  *senders;

    sender = cli->sender;

    if (sender == NULL) {
        return;
    }

    worker = cli->carrier->worker;
    senders = worker->senders;

    moved = ngx_alloc(sizeof(ngx_http_rtbus_moved_t), worker->hub.log);

    if (moved == NULL) {
        /* then it has no answers */
        return;
    }

    moved->worker = worker;
    moved->sender = sender;
    ngx_memcpy(moved->to, to->data, NGX_RTBUS_MAILBOX_ID_LEN);
    ngx_memcpy(moved->sid, cli->sid.data, cli->sid.len);

    ngx_http_rtbus_sender_list(sender);

    /* the key stays what it is, its bytes go with the client */

    sender->node.str.data = moved->sid;
    sender->moved = moved;
    sender->cli = NULL;

    cli->sender = NULL;

    if (senders->nmoved == ngx_cycle->connection_n) {
        q = ngx_queue_head(&senders->moved);
        old = ngx_queue_data(q, ngx_http_rtbus_moved_t, queue);

        ngx_http_rtbus_sender_forget(old->sender);
    }

    moved->until = ngx_current_msec + NGX_HTTP_RTBUS_SENDER_KEPT;

    ngx_queue_insert_tail(&senders->moved, &moved->queue);
    senders->nmoved++;

    if (!senders->forget.timer_set) {
        ngx_add_timer(&senders->forget, NGX_HTTP_RTBUS_SENDER_KEPT);
    }
}


ngx_int_t
ngx_http_rtbus_sender_import(ngx_http_rtbus_client_t *cli)
{
    ngx_http_rtbus_sender_t  *sender;

    sender = ngx_http_rtbus_sender_create(cli);
    if (sender == NULL) {
        return NGX_ERROR;
    }

    ngx_http_rtbus_sender_list(sender);

    return NGX_OK;
}


/* {"outcome":"<sid>","ack":<n>, and "error", "id", or "data", "attachments"} */

static void
ngx_http_rtbus_sender_pass_outcome(ngx_http_rtbus_sender_t *sender,
    uint64_t ack, ngx_http_rtbus_outcome_t *outcome)
{
    const char             *error;
    ngx_http_rtbus_text_t   text;

    ngx_http_rtbus_text_init(&text, sender->moved->worker->hub.log);

    ngx_http_rtbus_text_lit(&text, "{\"outcome\":");
    ngx_http_rtbus_text_quote(&text, sender->node.str.data,
                              sender->node.str.len);
    ngx_http_rtbus_text_lit(&text, ",\"number\":");
    ngx_http_rtbus_text_number(&text, ack);
    ngx_http_rtbus_text_lit(&text, ",\"duplicate\":");
    ngx_http_rtbus_text_number(&text, outcome->duplicate);

    if (outcome->error) {
        ngx_http_rtbus_text_lit(&text, ",\"error\":");
        error = ngx_http_rtbus_outcome_text(outcome);
        ngx_http_rtbus_text_quote(&text, error, ngx_strlen(error));

    } else if (outcome->id.len) {
        ngx_http_rtbus_text_lit(&text, ",\"id\":");
        ngx_http_rtbus_text_quote(&text, outcome->id.data, outcome->id.len);

    } else if (outcome->data.type != RTBUS_JSON_NONE) {
        ngx_http_rtbus_text_lit(&text, ",\"data\":");
        ngx_http_rtbus_text_add(&text, outcome->data.raw.data,
                                outcome->data.raw.len);
    }

    if (outcome->attachments.len) {
        ngx_http_rtbus_text_lit(&text, ",\"attachments\":");
        ngx_http_rtbus_text_add(&text, outcome->attachments.data,
                                outcome->attachments.len);
    }

    ngx_http_rtbus_sender_pass(sender, &text);
}


static void
ngx_http_rtbus_sender_pass(ngx_http_rtbus_sender_t *sender,
    ngx_http_rtbus_text_t *text)
{
    ngx_str_t                 to;
    ngx_http_rtbus_moved_t   *moved;
    ngx_http_rtbus_worker_t  *worker;

    moved = sender->moved;
    worker = moved->worker;

    to.len = NGX_RTBUS_MAILBOX_ID_LEN;
    to.data = moved->to;

    (void) ngx_http_rtbus_relay_tell(worker->relay, &to, text, NULL, NULL);

    moved->until = ngx_current_msec + NGX_HTTP_RTBUS_SENDER_KEPT;

    ngx_queue_remove(&moved->queue);
    ngx_queue_insert_tail(&worker->senders->moved, &moved->queue);
}


static void
ngx_http_rtbus_sender_passed(void *data, rtbus_json_value_t *value,
    rtbus_str_t *message)
{
    ngx_http_rtbus_worker_t  *worker = data;

    size_t                    len;
    uint64_t                  ack, duplicate;
    rtbus_json_member_t       m[] = { rtbus_json_member("number"),
                                      rtbus_json_member("duplicate"),
                                      rtbus_json_member("error"),
                                      rtbus_json_member("id"),
                                      rtbus_json_member("data"),
                                      rtbus_json_member("attachments") };
    ngx_http_rtbus_sender_t  *sender;
    ngx_http_rtbus_outcome_t  outcome;
    u_char                    buf[NGX_HTTP_RTBUS_OUTCOME_MAX];

    sender = ngx_http_rtbus_sender_find(worker, value);

    if (sender == NULL || sender->moved) {
        return;
    }

    rtbus_json_members(message, m, PASSED_N);

    if (rtbus_json_uint(&m[PASSED_NUMBER].value.raw, &ack) != RTBUS_OK
        || rtbus_json_uint(&m[PASSED_DUPLICATE].value.raw, &duplicate)
           != RTBUS_OK
        || m[PASSED_ERROR].value.raw.len > sizeof(buf)
        || m[PASSED_ID].value.raw.len > sizeof(buf)
        || ngx_http_rtbus_carrier_closing(sender->cli->carrier))
    {
        return;
    }

    ngx_memzero(&outcome, sizeof(ngx_http_rtbus_outcome_t));

    outcome.duplicate = (duplicate != 0);
    outcome.data = m[PASSED_DATA].value;
    outcome.attachments = m[PASSED_ATTACHMENTS].value.raw;

    if (m[PASSED_ERROR].value.type == RTBUS_JSON_STRING) {
        len = rtbus_json_unquote(buf, &m[PASSED_ERROR].value.raw);
        buf[len] = '\0';

        outcome.error = ngx_rtbus_reason_find(buf, len);
        outcome.text = (char *) buf;

    } else if (m[PASSED_ID].value.type == RTBUS_JSON_STRING) {
        outcome.id.data = buf;
        outcome.id.len = rtbus_json_unquote(buf, &m[PASSED_ID].value.raw);
    }

    ngx_http_rtbus_sender_tell(sender->cli, ack, &outcome);
}


/* nothing has come for it for long, or the client is here again */

static void
ngx_http_rtbus_sender_forget(ngx_http_rtbus_sender_t *sender)
{
    ngx_http_rtbus_moved_t  *moved;

    moved = sender->moved;

    ngx_http_rtbus_sender_free(sender, moved->worker);

    ngx_queue_remove(&moved->queue);
    moved->worker->senders->nmoved--;

    ngx_free(moved);
}


static void
ngx_http_rtbus_sender_free(ngx_http_rtbus_sender_t *sender,
    ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&sender->commands)) {
        q = ngx_queue_head(&sender->commands);
        ngx_queue_remove(q);

        ngx_http_rtbus_command_leave(
                           ngx_queue_data(q, ngx_http_rtbus_command_t, queue));
    }

    if (sender->listed) {
        ngx_rbtree_delete(&worker->senders->tree, &sender->node.node);
    }

    if (sender->auth.data) {
        ngx_free(sender->auth.data);
    }

    ngx_free(sender);
}


static void
ngx_http_rtbus_sender_expire(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_moved_t    *moved;
    ngx_http_rtbus_senders_t  *senders;

    senders = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus: forget moved senders, n:%ui", senders->nmoved);

    while (!ngx_queue_empty(&senders->moved)) {
        q = ngx_queue_head(&senders->moved);
        moved = ngx_queue_data(q, ngx_http_rtbus_moved_t, queue);

        if ((ngx_msec_int_t) (moved->until - ngx_current_msec) > 0) {
            ngx_add_timer(ev, moved->until - ngx_current_msec);
            return;
        }

        ngx_http_rtbus_sender_forget(moved->sender);
    }
}


void
ngx_http_rtbus_sender_close(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t               *q;
    ngx_http_rtbus_moved_t    *moved;
    ngx_http_rtbus_senders_t  *senders;

    senders = worker->senders;

    while (!ngx_queue_empty(&senders->moved)) {
        q = ngx_queue_head(&senders->moved);
        moved = ngx_queue_data(q, ngx_http_rtbus_moved_t, queue);

        ngx_http_rtbus_sender_forget(moved->sender);
    }
}


/* what is for producers of it: all members but those that are for us */

ngx_int_t
ngx_http_rtbus_sender_auth(ngx_http_rtbus_client_t *cli, rtbus_str_t *auth)
{
    u_char                   *p;
    rtbus_str_t               object;
    const uint8_t            *pos;
    rtbus_json_value_t        name, value;
    ngx_http_rtbus_sender_t  *sender;

    object = *auth;

    /* white space may follow it */

    while (object.len && object.data[object.len - 1] != '}') {
        object.len--;
    }

    if (object.len == 0
        || !ngx_http_rtbus_command_wanted(cli->carrier->conf->commands,
                                          "@connect"))
    {
        return NGX_OK;
    }

    sender = ngx_http_rtbus_sender_create(cli);
    if (sender == NULL) {
        return NGX_ERROR;
    }

    p = ngx_alloc(object.len, cli->carrier->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    sender->auth.data = p;
    *p++ = '{';

    /* the walk knows separators only: names and values come in turn */

    pos = NULL;

    while (rtbus_json_next(&name, &pos, &object) == RTBUS_OK) {

        if (rtbus_json_next(&value, &pos, &object) != RTBUS_OK) {
            break;
        }

        if (ngx_http_rtbus_sender_secret(cli->carrier->conf, &name, &value)) {
            continue;
        }

        if (p - sender->auth.data > 1) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, name.raw.data, name.raw.len);
        *p++ = ':';
        p = ngx_cpymem(p, value.raw.data, value.raw.len);
    }

    *p++ = '}';
    sender->auth.len = p - sender->auth.data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_rtbus_sender_secret(ngx_http_rtbus_loc_conf_t *conf,
    rtbus_json_value_t *name, rtbus_json_value_t *value)
{
    size_t      len;
    ngx_uint_t  i, dots;
    u_char      buf[sizeof("offset") - 1];

    if (rtbus_json_unquote(NULL, &name->raw) > sizeof(buf)) {
        return 0;
    }

    len = rtbus_json_unquote(buf, &name->raw);

    if ((len == 3 && ngx_strncmp(buf, "pid", 3) == 0)
        || (len == 6 && ngx_strncmp(buf, "offset", 6) == 0))
    {
        return 1;
    }

    if (len != 5 || ngx_strncmp(buf, "token", 5) != 0) {
        return 0;
    }

    /*
     * A JSON Web Token is nobody else's business, whoever checks it; what else
     * goes by this name is ours where there is a key.
     */

    if (conf->jwt_key.len) {
        return 1;
    }

    dots = 0;

    for (i = 0; i < value->raw.len; i++) {
        dots += (value->raw.data[i] == '.');
    }

    return dots == 2;
}


void
ngx_http_rtbus_sender_connected(ngx_http_rtbus_client_t *cli)
{
    ngx_str_t                 auth;
    ngx_http_rtbus_asker_t    asker;
    ngx_http_rtbus_sender_t  *sender;

    if (!ngx_http_rtbus_command_wanted(cli->carrier->conf->commands,
                                       "@connect"))
    {
        return;
    }

    sender = ngx_http_rtbus_sender_create(cli);
    if (sender == NULL) {
        ngx_http_rtbus_carrier_nomem(cli->carrier);
        return;
    }

    ngx_http_rtbus_sender_list(sender);
    ngx_http_rtbus_sender_asker(cli, &asker);

    if (sender->auth.len) {
        auth = sender->auth;

    } else {
        ngx_str_set(&auth, "{}");
    }

    ngx_http_rtbus_command_notify(&asker, "@connect", &auth);

    if (sender->auth.data) {
        ngx_free(sender->auth.data);
        ngx_str_null(&sender->auth);
    }
}


void
ngx_http_rtbus_sender_done(ngx_http_rtbus_client_t *cli, const char *reason)
{
    u_char                  *p;
    ngx_str_t                data;
    ngx_http_rtbus_asker_t   asker;
    u_char                   buf[128];

    if (cli->sender) {
        ngx_http_rtbus_sender_free(cli->sender, cli->carrier->worker);
        cli->sender = NULL;
    }

    if (cli->state != NGX_HTTP_RTBUS_CLIENT_CONNECTED
        || !ngx_http_rtbus_command_wanted(cli->carrier->conf->commands,
                                          "@disconnect"))
    {
        return;
    }

    p = ngx_snprintf(buf, sizeof(buf), "\"%s\"", reason);

    data.len = p - buf;
    data.data = buf;

    ngx_http_rtbus_sender_asker(cli, &asker);
    ngx_http_rtbus_command_notify(&asker, "@disconnect", &data);
}
