
#include "ngx_http_rtbus_remote.h"
#include "ngx_http_rtbus_upgrade_remote.h"
#include "rtbus_utf8.h"


/* bytes of the pool for what a request of another worker says */
#define NGX_HTTP_RTBUS_REMOTE_POOL   1024

/* ms for another worker to do what a request wants at once */
#define NGX_HTTP_RTBUS_REMOTE_POST   10000

/* ... and to end a poll of a worker that leaves */
#define NGX_HTTP_RTBUS_REMOTE_FLUSH  5000

/* ... and to say that an answer has arrived */
#define NGX_HTTP_RTBUS_REMOTE_SURE   5000


/* members of a question, see ngx_http_rtbus_remote_asked() */

enum {
    m_id = 0,
    m_user,
    m_place,
    m_body,
    m_grants,
    m_answer,
    m_members
};


/* a request of our client to a session of another worker; memory of it */

typedef struct {
    ngx_http_rtbus_poll_call_t  *call;
    ngx_http_rtbus_relay_ask_t  *ask;
    ngx_http_rtbus_worker_t     *worker;
    ngx_queue_t                  queue;  /* sessions->relayed, a poll waits */
    uint64_t                     ref;    /* of the question */
    ngx_uint_t                   poll;   /* unsigned  poll:1; */
    u_char                       sid[NGX_HTTP_RTBUS_SESSION_ID];
} ngx_http_rtbus_remote_ask_t;


/* a request of another worker to a session of ours; malloc'ed */

typedef struct {
    ngx_http_rtbus_poll_call_t   call;   /* the first member */
    ngx_http_rtbus_worker_t     *worker;
    ngx_http_rtbus_relay_from_t  from;
    ngx_uint_t                   poll;   /* unsigned  poll:1; */
    ngx_str_t                    body;
    rtbus_str_t                  grants; /* an array */
    u_char                       sid[NGX_HTTP_RTBUS_SESSION_ID];
    u_char                       data[1];
} ngx_http_rtbus_remote_call_t;


static void ngx_http_rtbus_remote_grants(ngx_http_request_t *r,
    ngx_str_t *body, ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_remote_answered(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_remote_abort(ngx_http_rtbus_poll_call_t *call);
static void ngx_http_rtbus_remote_written(ngx_http_rtbus_poll_call_t *call);
static void ngx_http_rtbus_remote_tell(ngx_http_rtbus_remote_ask_t *relayed,
    const char *kind);
static void ngx_http_rtbus_remote_lost(ngx_http_rtbus_worker_t *worker);
static void ngx_http_rtbus_remote_ask_after(ngx_http_rtbus_worker_t *worker);
static void ngx_http_rtbus_remote_asked(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from);
static ngx_http_rtbus_eio_error_e ngx_http_rtbus_remote_take(
    ngx_http_rtbus_worker_t *worker, ngx_http_rtbus_session_t *s,
    rtbus_json_value_t *body, rtbus_json_value_t *grants,
    ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_remote_settle(ngx_http_rtbus_session_t *s,
    ngx_str_t *kind, ngx_http_rtbus_relay_from_t *from);
static void ngx_http_rtbus_remote_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text);
static void ngx_http_rtbus_remote_delivered(void *data, redisReply *reply);
static void ngx_http_rtbus_remote_verify(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_remote_doubted(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_remote_sure(ngx_http_rtbus_session_t *s);
static void ngx_http_rtbus_remote_waits(ngx_http_rtbus_worker_t *worker,
    rtbus_json_value_t *ref, ngx_http_rtbus_relay_from_t *from);


ngx_int_t
ngx_http_rtbus_remote_init(ngx_http_rtbus_worker_t *worker, ngx_cycle_t *cycle)
{
    ngx_queue_init(&worker->sessions->relayed);

    if (ngx_http_rtbus_relay_init(worker, ngx_http_rtbus_remote_asked, cycle)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    worker->relay->lost_handler = ngx_http_rtbus_remote_lost;
    worker->relay->doubt_handler = ngx_http_rtbus_remote_ask_after;

    return NGX_OK;
}


/*
 * Asks the owner to do what the request wants, and tells it what it cannot
 * know of the request: who sent it and, for CONNECT packets, what they are
 * granted.
 */

ngx_http_rtbus_eio_error_e
ngx_http_rtbus_remote_request(ngx_http_request_t *r, ngx_str_t *sid,
    ngx_str_t *body)
{
    ngx_str_t                     owner;
    ngx_msec_t                    ms;
    ngx_http_rtbus_text_t         text;
    ngx_http_rtbus_relay_t       *relay;
    ngx_http_rtbus_loc_conf_t    *rlcf;
    ngx_http_rtbus_poll_call_t   *call;
    ngx_http_rtbus_remote_ask_t  *relayed;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    relay = rlcf->bus->worker->relay;

    relayed = ngx_pcalloc(r->pool, sizeof(ngx_http_rtbus_remote_ask_t));
    if (relayed == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    call = ngx_http_rtbus_poll_create(r);
    if (call == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    relayed->call = call;
    relayed->worker = rlcf->bus->worker;
    relayed->poll = (body == NULL);
    ngx_memcpy(relayed->sid, sid->data, NGX_HTTP_RTBUS_SESSION_ID);

    ngx_http_rtbus_relay_begin(relay, &text, body ? "post" : "get");

    if (ngx_http_rtbus_session_describe(r, sid, &text) != NGX_OK) {
        ngx_http_rtbus_text_free(&text);
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    if (body) {

        if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, body->data, body->len)
            != RTBUS_UTF8_ACCEPT)
        {
            /* JSON cannot say it; an empty one is refused as well */
            body->len = 0;
        }

        ngx_http_rtbus_remote_grants(r, body, &text);
        ngx_http_rtbus_text_lit(&text, ",\"body\":");
        ngx_http_rtbus_text_quote(&text, body->data, body->len);

        ms = NGX_HTTP_RTBUS_REMOTE_POST;

    } else {
        ms = rlcf->ping_interval + rlcf->ping_timeout
             + NGX_HTTP_RTBUS_REMOTE_POST;
    }

    owner.data = sid->data;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    relayed->ask = ngx_http_rtbus_relay_ask(relay, &owner, &text, ms,
                                            ngx_http_rtbus_remote_answered,
                                            relayed);
    if (relayed->ask == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    relayed->ref = ngx_http_rtbus_relay_ref(relayed->ask);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus remote asks the owner, poll:%ui ref:%uL ms:%M",
                   relayed->poll, relayed->ref, ms);

    call->abort = ngx_http_rtbus_remote_abort;
    call->data = relayed;

    if (relayed->poll) {
        ngx_queue_insert_tail(&relayed->worker->sessions->relayed,
                              &relayed->queue);

        if (relayed->worker->carriers->draining) {
            ngx_http_rtbus_remote_tell(relayed, "flush");
            ngx_http_rtbus_relay_hurry(relayed->ask,
                                       NGX_HTTP_RTBUS_REMOTE_FLUSH);
        }
    }

    if (ngx_http_rtbus_poll_wait(call) != NGX_DONE) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    return NGX_HTTP_RTBUS_EIO_OK;
}


/* the number is limited, since each may cost a check of its token */

static void
ngx_http_rtbus_remote_grants(ngx_http_request_t *r, ngx_str_t *body,
    ngx_http_rtbus_text_t *text)
{
    ngx_uint_t                  n;
    const u_char               *pos;
    rtbus_eio_packet_t          packet;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    ngx_http_rtbus_text_lit(text, ",\"grants\":[null");

    n = rlcf->namespaces->nelts;
    pos = body->data;

    while (n
           && body->len
           && rtbus_eio_next(&packet, &pos, body->data + body->len)
              == RTBUS_OK)
    {
        if (packet.type == RTBUS_EIO_MESSAGE
            && rlcf->bus->worker->sessions->handlers->grant(r, packet.data.data,
                                             packet.data.len, text)
               == NGX_OK)
        {
            n--;
        }
    }

    ngx_http_rtbus_text_lit(text, "]");
}


static void
ngx_http_rtbus_remote_answered(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_remote_ask_t *relayed = data;

    size_t                       len;
    u_char                      *p;
    uint64_t                     error;
    rtbus_json_member_t          m[] = { rtbus_json_member("error"),
                                         rtbus_json_member("text") };
    ngx_http_rtbus_text_t        text, *body;
    ngx_http_rtbus_poll_call_t  *call;

    call = relayed->call;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, relayed->worker->relay->log, 0,
                   "rtbus remote answer ref:%uL rc:%i poll:%ui",
                   relayed->ref, rc, relayed->poll);
    call->abort = NULL;
    relayed->ask = NULL;

    if (relayed->poll) {
        ngx_queue_remove(&relayed->queue);
    }

    if (rc != NGX_OK) {
        call->answer(call, rc == NGX_DECLINED ? NGX_HTTP_RTBUS_EIO_SID
                                              : NGX_HTTP_RTBUS_EIO_AWAY, NULL);
        return;
    }

    body = NULL;

    rtbus_json_members(answer, m, 2);

    if (rtbus_json_uint(&m[0].value.raw, &error) != RTBUS_OK
        || error > NGX_HTTP_RTBUS_EIO_OK)
    {
        error = NGX_HTTP_RTBUS_EIO_AWAY;
    }

    if (m[1].value.type == RTBUS_JSON_STRING) {
        ngx_http_rtbus_text_init(&text, relayed->worker->relay->log);

        len = rtbus_json_unquote(NULL, &m[1].value.raw);
        p = ngx_http_rtbus_text_reserve(&text, len + 1);

        if (p) {
            text.len = rtbus_json_unquote(p, &m[1].value.raw);
            body = &text;

        } else {
            error = NGX_HTTP_RTBUS_EIO_AWAY;
        }
    }

    if (relayed->poll && body) {
        call->abort = ngx_http_rtbus_remote_written;
    }

    call->answer(call, error, body);
}


/*
 * The client is gone.  If the owner has answered already, the answer is lost,
 * and so is the session.
 */

static void
ngx_http_rtbus_remote_abort(ngx_http_rtbus_poll_call_t *call)
{
    ngx_http_rtbus_remote_ask_t  *relayed;

    relayed = call->data;
    call->abort = NULL;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, relayed->worker->relay->log, 0,
                   "rtbus remote client is gone, ref:%uL poll:%ui",
                   relayed->ref, relayed->poll);

    if (relayed->poll) {
        ngx_queue_remove(&relayed->queue);
        ngx_http_rtbus_remote_tell(relayed, "abort");
    }

    ngx_http_rtbus_relay_cancel(relayed->ask);
}


/* the owner may go on with the next poll, wherever that will come from */

static void
ngx_http_rtbus_remote_written(ngx_http_rtbus_poll_call_t *call)
{
    ngx_connection_t  *c;

    c = call->request->connection;

    ngx_http_rtbus_remote_tell(call->data, c->error || c->timedout
                                            ? "abort" : "done");
}


/* says something about a poll that waits, or has its answer */

static void
ngx_http_rtbus_remote_tell(ngx_http_rtbus_remote_ask_t *relayed,
    const char *kind)
{
    ngx_str_t                owner;
    ngx_http_rtbus_text_t    text;
    ngx_http_rtbus_relay_t  *relay;

    relay = relayed->worker->relay;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, relay->log, 0,
                   "rtbus remote tells the owner \"%s\" ref:%uL",
                   kind, relayed->ref);

    ngx_http_rtbus_relay_begin(relay, &text, kind);

    ngx_http_rtbus_text_lit(&text, ",\"id\":");
    ngx_http_rtbus_text_quote(&text, relayed->sid, NGX_HTTP_RTBUS_SESSION_ID);

    owner.data = relayed->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    ngx_http_rtbus_relay_refer(relay, &text, relayed->ref);

    (void) ngx_http_rtbus_relay_tell(relay, &owner, &text, NULL, NULL);
}


/* the worker leaves: clients are to ask another one, with nothing lost */

void
ngx_http_rtbus_remote_drain(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t                  *q;
    ngx_http_rtbus_remote_ask_t  *relayed;

    for (q = ngx_queue_head(&worker->sessions->relayed);
         q != ngx_queue_sentinel(&worker->sessions->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_remote_ask_t, queue);

        ngx_http_rtbus_remote_tell(relayed, "flush");
        ngx_http_rtbus_relay_hurry(relayed->ask, NGX_HTTP_RTBUS_REMOTE_FLUSH);
    }
}


/* answers may have been lost: clients are to ask again, or to start over */

static void
ngx_http_rtbus_remote_lost(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t                  *q;
    ngx_http_rtbus_remote_ask_t  *relayed;

    for (q = ngx_queue_head(&worker->sessions->relayed);
         q != ngx_queue_sentinel(&worker->sessions->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_remote_ask_t, queue);

        if (ngx_http_rtbus_relay_stale(relayed->ask)) {
            ngx_http_rtbus_remote_tell(relayed, "lost");
        }
    }
}


/* the owner may have lost some: those that it does not know are to end */

static void
ngx_http_rtbus_remote_ask_after(ngx_http_rtbus_worker_t *worker)
{
    ngx_queue_t                  *q;
    ngx_http_rtbus_remote_ask_t  *relayed;

    for (q = ngx_queue_head(&worker->sessions->relayed);
         q != ngx_queue_sentinel(&worker->sessions->relayed);
         q = ngx_queue_next(q))
    {
        relayed = ngx_queue_data(q, ngx_http_rtbus_remote_ask_t, queue);

        if (ngx_http_rtbus_relay_doubtful(relayed->ask)) {
            ngx_http_rtbus_remote_tell(relayed, "still");
        }
    }
}


/* what other workers ask us */

static void
ngx_http_rtbus_remote_asked(ngx_http_rtbus_worker_t *worker,
    ngx_str_t *kind, rtbus_str_t *message, ngx_http_rtbus_relay_from_t *from)
{
    ngx_str_t                    sid, user, place;
    ngx_pool_t                  *pool;
    rtbus_json_member_t          m[] = { rtbus_json_member("id"),
                                         rtbus_json_member("user"),
                                         rtbus_json_member("place"),
                                         rtbus_json_member("body"),
                                         rtbus_json_member("grants"),
                                         rtbus_json_member("answer") };
    ngx_http_rtbus_session_t    *s;
    ngx_http_rtbus_eio_error_e   error;

    rtbus_json_members(message, m, m_members);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, worker->relay->log, 0,
                   "rtbus remote is asked \"%V\" ref:%uL from:%*s",
                   kind, from->ref, (size_t) NGX_RTBUS_MAILBOX_ID_LEN,
                   from->from);

    if (ngx_http_rtbus_relay_is(kind, "sure")) {
        ngx_http_rtbus_remote_waits(worker, &m[m_answer].value, from);
        return;
    }

    if (m[m_id].value.type != RTBUS_JSON_STRING) {
        return;
    }

    /* without the quotes; an id has no character that is escaped */

    sid.data = m[m_id].value.raw.data + 1;
    sid.len = m[m_id].value.raw.len - 2;

    s = ngx_http_rtbus_session_find(worker, &sid);

    if (ngx_http_rtbus_relay_is(kind, "abort")
        || ngx_http_rtbus_relay_is(kind, "flush")
        || ngx_http_rtbus_relay_is(kind, "lost")
        || ngx_http_rtbus_relay_is(kind, "still")
        || ngx_http_rtbus_relay_is(kind, "done"))
    {
        if (s) {
            ngx_http_rtbus_remote_settle(s, kind, from);

        } else if (ngx_http_rtbus_relay_is(kind, "lost")
                   || ngx_http_rtbus_relay_is(kind, "still"))
        {
            ngx_http_rtbus_relay_refuse(worker->relay, from,
                                        NGX_HTTP_RTBUS_EIO_SID);
        }

        return;
    }

    if (s == NULL) {
        ngx_http_rtbus_relay_refuse(worker->relay, from,
                                    NGX_HTTP_RTBUS_EIO_SID);
        return;
    }

    if (ngx_http_rtbus_upgrade_remote_told(s, kind, message, from) == NGX_OK) {
        return;
    }

    error = NGX_HTTP_RTBUS_EIO_AWAY;

    pool = ngx_create_pool(NGX_HTTP_RTBUS_REMOTE_POOL, worker->relay->log);

    if (pool) {
        if (ngx_http_rtbus_text_debase64(pool, &user, &m[m_user].value)
            == NGX_OK
            && ngx_http_rtbus_text_debase64(pool, &place, &m[m_place].value)
               == NGX_OK)
        {
            error = ngx_http_rtbus_session_check(s, &user, &place);
        }

        ngx_destroy_pool(pool);
    }

    if (error == NGX_HTTP_RTBUS_EIO_OK
        && ngx_http_rtbus_relay_is(kind, "upgrade"))
    {
        error = ngx_http_rtbus_upgrade_remote_asked(s, from);

        ngx_http_rtbus_relay_refuse(worker->relay, from, error);
        return;
    }

    if (error == NGX_HTTP_RTBUS_EIO_OK) {
        error = ngx_http_rtbus_remote_take(worker, s,
                                  ngx_http_rtbus_relay_is(kind, "post")
                                  ? &m[m_body].value : NULL,
                                  &m[m_grants].value, from);
    }

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        ngx_http_rtbus_relay_refuse(worker->relay, from, error);
    }
}


/* body NULL: a poll */

static ngx_http_rtbus_eio_error_e
ngx_http_rtbus_remote_take(ngx_http_rtbus_worker_t *worker,
    ngx_http_rtbus_session_t *s, rtbus_json_value_t *body,
    rtbus_json_value_t *grants, ngx_http_rtbus_relay_from_t *from)
{
    size_t                         len;
    u_char                        *p;
    ngx_int_t                      rc;
    ngx_http_rtbus_remote_call_t  *remote;

    len = 0;

    if (body) {
        if (body->type != RTBUS_JSON_STRING
            || grants->type != RTBUS_JSON_ARRAY)
        {
            return NGX_HTTP_RTBUS_EIO_REQUEST;
        }

        len = body->raw.len + grants->raw.len;
    }

    remote = ngx_alloc(sizeof(ngx_http_rtbus_remote_call_t) + len, &s->log);
    if (remote == NULL) {
        return NGX_HTTP_RTBUS_EIO_AWAY;
    }

    ngx_memzero(remote, sizeof(ngx_http_rtbus_remote_call_t));

    remote->call.answer = ngx_http_rtbus_remote_answer;
    remote->worker = worker;
    remote->from = *from;
    remote->poll = (body == NULL);
    ngx_memcpy(remote->sid, s->sid, NGX_HTTP_RTBUS_SESSION_ID);

    s->used = 1;

    if (body) {
        rc = ngx_http_rtbus_poll_post(&s->poll, &remote->call);

    } else {
        ngx_http_rtbus_remote_doubt(s, from);
        ngx_http_rtbus_session_polled(s);

        rc = ngx_http_rtbus_poll_get(&s->poll, &remote->call);
    }

    if (rc != NGX_OK) {
        ngx_free(remote);

        return (rc == NGX_DECLINED) ? NGX_HTTP_RTBUS_EIO_SID
                                    : NGX_HTTP_RTBUS_EIO_REQUEST;
    }

    if (body) {
        remote->body.data = remote->data;
        remote->body.len = rtbus_json_unquote(remote->data, &body->raw);

        p = remote->data + remote->body.len;

        remote->grants.data = p;
        remote->grants.len = grants->raw.len;
        ngx_memcpy(p, grants->raw.data, grants->raw.len);

        /* the first one is for the comma's sake */

        s->grant = NULL;
        (void) ngx_http_rtbus_remote_grant(&s->poll.carrier, NULL);

        ngx_http_rtbus_poll_body(&s->poll, &remote->body);

    } else {
        ngx_http_rtbus_session_hurry(s);
    }

    return NGX_HTTP_RTBUS_EIO_OK;
}


ngx_int_t
ngx_http_rtbus_remote_grant(ngx_http_rtbus_carrier_t *car,
    rtbus_json_value_t *value)
{
    rtbus_json_value_t             next;
    ngx_http_rtbus_session_t      *s;
    ngx_http_rtbus_remote_call_t  *remote;

    s = (ngx_http_rtbus_session_t *) car;

    remote = (ngx_http_rtbus_remote_call_t *) s->poll.post;

    if (rtbus_json_next(value ? value : &next, &s->grant, &remote->grants)
        != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/*
 * What the worker that has the client says about a poll:
 *
 *   "abort"  its client is gone; if it was answered, the answer is lost
 *   "flush"  the client is to poll again
 *   "lost"   likewise; it may not have come, or its answer not have arrived
 *   "done"   its client has the answer
 *   "still"  a question: has it come
 */

static void
ngx_http_rtbus_remote_settle(ngx_http_rtbus_session_t *s, ngx_str_t *kind,
    ngx_http_rtbus_relay_from_t *from)
{
    ngx_http_rtbus_remote_call_t  *remote;

    remote = (ngx_http_rtbus_remote_call_t *) s->poll.get;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus remote settles \"%V\" ref:%uL answered:%uL",
                   kind, from->ref, s->answered.ref);

    if (remote && remote->call.request == NULL
        && ngx_http_rtbus_relay_same(&remote->from, from))
    {
        if (ngx_http_rtbus_relay_is(kind, "abort")) {
            remote->call.abort(&remote->call);
            ngx_free(remote);

        } else if (!ngx_http_rtbus_relay_is(kind, "still")) {
            ngx_http_rtbus_poll_noop(&s->poll);
        }

        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "flush")) {
        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "done")) {

        if (ngx_http_rtbus_relay_same(&s->answered, from)) {
            ngx_http_rtbus_remote_sure(s);
        }

        return;
    }

    if (ngx_http_rtbus_relay_is(kind, "lost")
        || ngx_http_rtbus_relay_is(kind, "still"))
    {
        if (!ngx_http_rtbus_relay_same(&s->answered, from)) {
            ngx_http_rtbus_relay_refuse(s->poll.carrier.worker->relay, from,
                                        NGX_HTTP_RTBUS_EIO_SID);

        } else if (!s->sure && s->doubt == NULL) {
            /* or the answer has just been on its way */
            ngx_http_rtbus_remote_verify(s);
        }

        return;
    }

    if (ngx_http_rtbus_relay_same(&s->answered, from)) {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll is lost");
    }
}


static void
ngx_http_rtbus_remote_answer(ngx_http_rtbus_poll_call_t *call,
    ngx_http_rtbus_eio_error_e error, ngx_http_rtbus_text_t *text)
{
    ngx_str_t                      sid;
    ngx_http_rtbus_text_t          answer;
    ngx_http_rtbus_relay_t        *relay;
    ngx_http_rtbus_session_t      *s;
    ngx_http_rtbus_remote_call_t  *remote;

    remote = (ngx_http_rtbus_remote_call_t *) call;

    relay = remote->worker->relay;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, relay->log, 0,
                   "rtbus remote answers ref:%uL error:%d len:%uz",
                   remote->from.ref, error, text ? text->len : 0);

    if (text == NULL) {
        ngx_http_rtbus_relay_refuse(remote->worker->relay, &remote->from,
                                    error);
        ngx_free(remote);
        return;
    }

    sid.data = remote->sid;
    sid.len = NGX_HTTP_RTBUS_SESSION_ID;

    s = ngx_http_rtbus_session_find(remote->worker, &sid);

    if (s) {
        s->answered = remote->from;
        s->sure = 0;
    }

    ngx_http_rtbus_relay_begin(relay, &answer, "answer");

    ngx_http_rtbus_text_lit(&answer, ",\"error\":");
    ngx_http_rtbus_text_number(&answer, error);
    ngx_http_rtbus_text_lit(&answer, ",\"text\":");
    ngx_http_rtbus_text_quote(&answer, text->data, text->len);

    ngx_http_rtbus_text_free(text);

    if (ngx_http_rtbus_relay_answer(relay, &remote->from, &answer,
                                    ngx_http_rtbus_remote_delivered, remote)
        != NGX_OK)
    {
        ngx_http_rtbus_remote_delivered(remote, NULL);
    }
}


/* an answer that reached nobody leaves a hole: better to end the session */

static void
ngx_http_rtbus_remote_delivered(void *data, redisReply *reply)
{
    ngx_http_rtbus_remote_call_t *remote = data;

    ngx_str_t                  sid;
    ngx_http_rtbus_session_t  *s;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, remote->worker->relay->log, 0,
                   "rtbus remote answer delivered ref:%uL reply:%d",
                   remote->from.ref, reply != NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0)
    {
        /* the worker that waits for the answer will ask after it */

        remote->worker->relay->failures++;

        sid.data = remote->sid;
        sid.len = NGX_HTTP_RTBUS_SESSION_ID;

        s = ngx_http_rtbus_session_find(remote->worker, &sid);

        if (s) {
            ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                         "answer of a poll is lost");
        }
    }

    ngx_free(remote);
}


/*
 * The answer to the poll before went to another worker, which has not said yet
 * that its client has it.  If that worker has died in between, this poll is a
 * second try of a browser or a proxy, and what it would get is behind a hole.
 * Redis has handed the answer on, but this does not say that it has arrived.
 */

void
ngx_http_rtbus_remote_doubt(ngx_http_rtbus_session_t *s,
    ngx_http_rtbus_relay_from_t *from)
{
    if (s->answered.ref == 0 || s->sure || s->doubt
        || ngx_http_rtbus_carrier_closing(&s->poll.carrier)
        || (from && ngx_memcmp(from->from, s->answered.from,
                               NGX_RTBUS_MAILBOX_ID_LEN)
                    == 0))
    {
        return;
    }

    ngx_http_rtbus_remote_verify(s);
}


static void
ngx_http_rtbus_remote_verify(ngx_http_rtbus_session_t *s)
{
    ngx_str_t                id;
    ngx_http_rtbus_text_t    text;
    ngx_http_rtbus_relay_t  *relay;

    relay = s->poll.carrier.worker->relay;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus remote doubts its answer to ref:%uL",
                   s->answered.ref);

    id.len = NGX_RTBUS_MAILBOX_ID_LEN;
    id.data = s->answered.from;

    ngx_http_rtbus_relay_begin(relay, &text, "sure");
    ngx_http_rtbus_text_lit(&text, ",\"answer\":");
    ngx_http_rtbus_text_number(&text, s->answered.ref);

    s->doubt = ngx_http_rtbus_relay_ask(relay, &id, &text,
                                        NGX_HTTP_RTBUS_REMOTE_SURE,
                                        ngx_http_rtbus_remote_doubted, s);

    s->poll.unsure = 1;

    if (s->doubt == NULL) {
        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll may be lost");
    }
}


static void
ngx_http_rtbus_remote_doubted(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_session_t *s = data;

    uint64_t             waits;
    rtbus_json_member_t  m[] = { rtbus_json_member("waits") };

    s->doubt = NULL;

    waits = 1;

    if (rc == NGX_OK) {
        rtbus_json_members(answer, m, 1);

        if (rtbus_json_uint(&m[0].value.raw, &waits) != RTBUS_OK) {
            waits = 1;
        }
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, &s->log, 0,
                   "rtbus remote doubt is over, rc:%i waits:%uL", rc, waits);

    if (waits) {
        ngx_http_rtbus_relay_refuse(s->poll.carrier.worker->relay,
                                    &s->answered, NGX_HTTP_RTBUS_EIO_SID);

        ngx_http_rtbus_carrier_close(&s->poll.carrier, RTBUS_WS_INTERNAL,
                                     "answer of a poll is lost");
        return;
    }

    ngx_http_rtbus_remote_sure(s);
}


static void
ngx_http_rtbus_remote_sure(ngx_http_rtbus_session_t *s)
{
    if (s->doubt) {
        ngx_http_rtbus_relay_cancel(s->doubt);
        s->doubt = NULL;
    }

    s->sure = 1;
    s->poll.unsure = 0;

    if (s->poll.get) {
        ngx_http_rtbus_session_hurry(s);

        if (s->poll.carrier.first) {
            ngx_http_rtbus_carrier_mark(&s->poll.carrier);
        }
    }
}


/* does one of our clients still wait for that answer */

static void
ngx_http_rtbus_remote_waits(ngx_http_rtbus_worker_t *worker,
    rtbus_json_value_t *ref, ngx_http_rtbus_relay_from_t *from)
{
    uint64_t               n;
    ngx_http_rtbus_text_t  text;

    if (rtbus_json_uint(&ref->raw, &n) != RTBUS_OK) {
        return;
    }

    ngx_http_rtbus_relay_begin(worker->relay, &text, "answer");

    ngx_http_rtbus_text_lit(&text, ",\"waits\":");
    ngx_http_rtbus_text_number(&text,
                               ngx_http_rtbus_relay_waits(worker->relay, n));

    (void) ngx_http_rtbus_relay_answer(worker->relay, from, &text, NULL, NULL);
}
