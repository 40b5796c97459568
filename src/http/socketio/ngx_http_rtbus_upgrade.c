
#include "ngx_http_rtbus_upgrade.h"


/* ms for each of two steps before a session is taken, ready or not */
#define NGX_HTTP_RTBUS_UPGRADE_READY  2000


typedef enum {
    NGX_HTTP_RTBUS_UPGRADE_ASKING = 0,  /* may there be a WebSocket */
    NGX_HTTP_RTBUS_UPGRADE_OPEN,        /* the client is to probe it */
    NGX_HTTP_RTBUS_UPGRADE_PROBED,      /* ... and to say "upgrade" */
    NGX_HTTP_RTBUS_UPGRADE_MOVING,      /* the session is to come from another
                                           worker */
    NGX_HTTP_RTBUS_UPGRADE_DONE         /* it has the session */
} ngx_http_rtbus_upgrade_state_e;


/* members of a session that comes, see ngx_http_rtbus_upgrade_import() */

enum {
    m_session = 0,
    m_queue,
    m_opened,
    m_pinged,
    m_members
};


/* what it takes to get one from another worker; malloc'ed */

typedef struct {
    ngx_http_rtbus_holds_t                holds;
    ngx_http_rtbus_relay_ask_t           *mark;     /* to ourselves */
    ngx_event_t                           ready;    /* timer: on without it */
} ngx_http_rtbus_upgrade_move_t;


/* a WebSocket that is to get a session */

struct ngx_http_rtbus_upgrade_s {
    ngx_http_rtbus_ws_t                   ws;       /* the first member */
    const ngx_http_rtbus_eio_handlers_t  *handlers;

    ngx_http_rtbus_session_t             *session;  /* ours, or NULL */

    ngx_http_rtbus_eio_t                 *eio;      /* malloc'ed, of a session
                                                       that came here */

    ngx_http_request_t                   *request;  /* until it is done */
    ngx_http_cleanup_t                   *cleanup;  /* likewise */
    ngx_http_rtbus_worker_t              *worker;
    ngx_http_rtbus_relay_ask_t           *ask;
    ngx_http_rtbus_upgrade_move_t        *move;     /* or NULL */
    uint64_t                              ref;      /* by which the owner knows
                                                       this one; 0: not yet */
    ngx_str_t                             key;      /* of the handshake */
    void                                (*ended)(ngx_http_rtbus_carrier_t *car);
    ngx_http_rtbus_upgrade_state_e        state;    /* by _state() only */
    u_char                                sid[NGX_HTTP_RTBUS_SESSION_ID];
};


static void ngx_http_rtbus_upgrade_state(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_upgrade_state_e state);
static ngx_int_t ngx_http_rtbus_upgrade_accept(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_eio_error_e error);
static ngx_int_t ngx_http_rtbus_upgrade_ask(ngx_http_rtbus_upgrade_t *u);
static void ngx_http_rtbus_upgrade_answered(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_upgrade_cleanup(void *data);
static void ngx_http_rtbus_upgrade_leave(ngx_http_rtbus_upgrade_t *u);
static ngx_int_t ngx_http_rtbus_upgrade_message(ngx_http_rtbus_ws_t *ws,
    u_char *p, size_t len);
static void ngx_http_rtbus_upgrade_timer(ngx_http_rtbus_ws_t *ws);
static void ngx_http_rtbus_upgrade_nothing(ngx_http_rtbus_carrier_t *car);
static void ngx_http_rtbus_upgrade_ended(ngx_http_rtbus_carrier_t *car);
static ngx_int_t ngx_http_rtbus_upgrade_begin(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_text_t *text, const char *kind);
static void ngx_http_rtbus_upgrade_tell(ngx_http_rtbus_upgrade_t *u,
    const char *kind);

static ngx_int_t ngx_http_rtbus_upgrade_switch(ngx_http_rtbus_upgrade_t *u);
static void ngx_http_rtbus_upgrade_start(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_eio_t *eio);
static void ngx_http_rtbus_upgrade_told_channels(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_upgrade_unhold(ngx_http_rtbus_upgrade_t *u);
static void ngx_http_rtbus_upgrade_expired(ngx_event_t *ev);
static void ngx_http_rtbus_upgrade_ready(void *data);
static void ngx_http_rtbus_upgrade_marked(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static void ngx_http_rtbus_upgrade_taken(void *data, ngx_int_t rc,
    rtbus_str_t *answer);
static ngx_int_t ngx_http_rtbus_upgrade_import(ngx_http_rtbus_upgrade_t *u,
    rtbus_str_t *answer);
static ngx_int_t ngx_http_rtbus_upgrade_queue(ngx_http_rtbus_upgrade_t *u,
    rtbus_json_value_t *value);

static void ngx_http_rtbus_upgrade_cancel(ngx_http_rtbus_session_t *s);


ngx_int_t
ngx_http_rtbus_upgrade_request(ngx_http_request_t *r, ngx_str_t *sid,
    const ngx_http_rtbus_eio_handlers_t *handlers)
{
    ngx_int_t                    rc;
    ngx_str_t                    key;
    ngx_http_cleanup_t          *cln;
    ngx_http_rtbus_session_t    *s;
    ngx_http_rtbus_upgrade_t    *u;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_eio_error_e   error;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    error = NGX_HTTP_RTBUS_EIO_OK;
    s = NULL;

    if (sid->len != NGX_HTTP_RTBUS_SESSION_ID) {
        error = NGX_HTTP_RTBUS_EIO_SID;

    } else if (ngx_http_rtbus_session_ours(rlcf->bus->worker, sid)) {
        error = ngx_http_rtbus_session_lookup(r, sid, &s);

        if (error == NGX_HTTP_RTBUS_EIO_OK) {
            error = ngx_http_rtbus_upgrade_free(s);
        }
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus upgrade request \"%V\" ours:%d error:%d",
                   sid, s != NULL, error);

    if ((error != NGX_HTTP_RTBUS_EIO_OK && error != NGX_HTTP_RTBUS_EIO_REQUEST)
        || !ngx_http_rtbus_ws_asked(r))
    {
        if (error == NGX_HTTP_RTBUS_EIO_OK) {
            error = NGX_HTTP_RTBUS_EIO_REQUEST;
        }

        return ngx_http_rtbus_poll_reply(r, error, NULL);
    }

    ngx_str_null(&key);

    rc = ngx_http_rtbus_ws_handshake(r, &key);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    u = ngx_http_rtbus_ws_create(r, sizeof(ngx_http_rtbus_upgrade_t));
    if (u == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_rtbus_upgrade_cleanup;
    cln->data = u;

    u->cleanup = cln;

    u->handlers = handlers;
    u->request = r;
    u->worker = rlcf->bus->worker;
    u->key = key;
    ngx_memcpy(u->sid, sid->data, NGX_HTTP_RTBUS_SESSION_ID);

    if (s == NULL) {
        return ngx_http_rtbus_upgrade_ask(u);
    }

    if (error == NGX_HTTP_RTBUS_EIO_OK) {
        u->session = s;
        s->upgrade = u;
        s->ends_handler = ngx_http_rtbus_upgrade_cancel;
    }

    rc = ngx_http_rtbus_upgrade_accept(u, error);

    return (rc == NGX_OK) ? NGX_DONE : rc;
}


static void
ngx_http_rtbus_upgrade_state(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_upgrade_state_e state)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, u->request->connection->log, 0,
                   "rtbus upgrade state:%d>%d ours:%d",
                   u->state, state, u->session != NULL);

    u->state = state;
}


ngx_http_rtbus_eio_error_e
ngx_http_rtbus_upgrade_free(ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_upgrade_t  *u;

    ngx_http_rtbus_session_expire(s);

    u = s->upgrade;

    if (u && u->state != NGX_HTTP_RTBUS_UPGRADE_DONE
        && ngx_http_rtbus_carrier_closing(&u->ws.carrier))
    {
        /* it is about to go */
        ngx_http_rtbus_upgrade_leave(u);
    }

    return (s->upgrade || s->upgrader.ref
            || ngx_http_rtbus_carrier_closing(&s->poll.carrier))
           ? NGX_HTTP_RTBUS_EIO_REQUEST : NGX_HTTP_RTBUS_EIO_OK;
}


/* a WebSocket that is too late is told so, as the reference server does */

static ngx_int_t
ngx_http_rtbus_upgrade_accept(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_eio_error_e error)
{
    ngx_int_t             rc;
    ngx_http_rtbus_ws_t  *ws;

    ws = &u->ws;

    ws->carrier.kind = NGX_RTBUS_STAT_SOCKETIO;
    ws->carrier.room_handler = ngx_http_rtbus_upgrade_nothing;
    ws->carrier.leave_handler = ngx_http_rtbus_upgrade_nothing;
    ws->carrier.ended_handler = ngx_http_rtbus_upgrade_ended;

    ws->message_handler = ngx_http_rtbus_upgrade_message;
    ws->timer_handler = ngx_http_rtbus_upgrade_timer;

    if (ngx_http_rtbus_ws_init(ws, u->request) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_rtbus_ws_accept(ws, &u->key);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_rtbus_upgrade_state(u, NGX_HTTP_RTBUS_UPGRADE_OPEN);

    ws->carrier.transport->timer(&ws->carrier, NGX_HTTP_RTBUS_UPGRADE_TIMEOUT);

    /* the client speaks first */

    ngx_http_rtbus_carrier_mark(&ws->carrier);

    if (error != NGX_HTTP_RTBUS_EIO_OK) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_POLICY,
                                     "session has a WebSocket already");
    }

    return NGX_OK;
}


/* the owner has to say first whether there is such a session */

static ngx_int_t
ngx_http_rtbus_upgrade_ask(ngx_http_rtbus_upgrade_t *u)
{
    ngx_str_t               sid, owner;
    ngx_event_t            *rev;
    ngx_http_request_t     *r;
    ngx_http_rtbus_text_t   text;

    r = u->request;

    ngx_http_rtbus_relay_begin(u->worker->relay, &text, "upgrade");

    sid.data = u->sid;
    sid.len = NGX_HTTP_RTBUS_SESSION_ID;

    if (ngx_http_rtbus_session_describe(r, &sid, &text) != NGX_OK) {
        ngx_http_rtbus_text_free(&text);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    owner.data = u->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    u->ask = ngx_http_rtbus_relay_ask(u->worker->relay, &owner, &text,
                                      NGX_HTTP_RTBUS_UPGRADE_STEP,
                                      ngx_http_rtbus_upgrade_answered, u);
    if (u->ask == NULL) {
        return ngx_http_rtbus_poll_reply(r, NGX_HTTP_RTBUS_EIO_AWAY, NULL);
    }

    /* by this the owner is told if the client goes away before the answer */

    u->ref = ngx_http_rtbus_relay_ref(u->ask);

    rev = r->connection->read;
    r->read_event_handler = ngx_http_test_reading;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_rtbus_upgrade_answered(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_upgrade_t *u = data;

    uint64_t                     error;
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    rtbus_json_member_t          m[] = { rtbus_json_member("error") };
    ngx_http_rtbus_eio_error_e   e;

    u->ask = NULL;

    r = u->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus upgrade answer of the owner, rc:%i", rc);

    e = (rc == NGX_DECLINED) ? NGX_HTTP_RTBUS_EIO_SID
                             : NGX_HTTP_RTBUS_EIO_AWAY;

    if (rc == NGX_OK) {
        rtbus_json_members(answer, m, 1);

        if (rtbus_json_uint(&m[0].value.raw, &error) == RTBUS_OK
            && error <= NGX_HTTP_RTBUS_EIO_OK)
        {
            e = error;
        }

        if (e != NGX_HTTP_RTBUS_EIO_OK) {
            /* there is nothing to take back */
            u->ref = 0;
        }
    }

    r->read_event_handler = ngx_http_block_reading;

    if (e == NGX_HTTP_RTBUS_EIO_OK || e == NGX_HTTP_RTBUS_EIO_REQUEST) {
        rc = ngx_http_rtbus_upgrade_accept(u, e);

        if (rc == NGX_OK) {
            rc = NGX_DONE;
        }

    } else {
        rc = ngx_http_rtbus_poll_reply(r, e, NULL);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_rtbus_upgrade_cleanup(void *data)
{
    ngx_http_rtbus_upgrade_t *u = data;

    if (u->ask) {
        ngx_http_rtbus_relay_cancel(u->ask);
        u->ask = NULL;
    }

    ngx_http_rtbus_upgrade_unhold(u);
    ngx_http_rtbus_upgrade_leave(u);
}


/* the WebSocket will not have the session */

static void
ngx_http_rtbus_upgrade_leave(ngx_http_rtbus_upgrade_t *u)
{
    ngx_http_rtbus_session_t  *s;

    s = u->session;

    if (u->state == NGX_HTTP_RTBUS_UPGRADE_DONE) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, u->worker->hub.log, 0,
                   "rtbus upgrade leaves, state:%d ours:%d ref:%uL",
                   u->state, s != NULL, u->ref);

    if (s) {
        s->upgrade = NULL;
        u->session = NULL;

        ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_POLLING);
    }

    if (u->ref) {
        ngx_http_rtbus_upgrade_tell(u, "left");
        u->ref = 0;
    }
}


static void
ngx_http_rtbus_upgrade_nothing(ngx_http_rtbus_carrier_t *car)
{
}


/* if the WebSocket has one of our sessions, the session ends with it */

static void
ngx_http_rtbus_upgrade_ended(ngx_http_rtbus_carrier_t *car)
{
    ngx_http_rtbus_session_t  *s;
    ngx_http_rtbus_upgrade_t  *u;

    u = (ngx_http_rtbus_upgrade_t *) car;

    if (u->state != NGX_HTTP_RTBUS_UPGRADE_DONE) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus upgrade ends, ours:%d", u->session != NULL);

    u->ended(car);

    if (u->eio) {
        ngx_free(u->eio);
        u->eio = NULL;
    }

    s = u->session;

    if (s) {
        u->session = NULL;
        ngx_http_rtbus_poll_done(&s->poll);
    }
}


static void
ngx_http_rtbus_upgrade_timer(ngx_http_rtbus_ws_t *ws)
{
    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus upgrade timer");

    ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_POLICY,
                                 "no upgrade in time");
}


static ngx_int_t
ngx_http_rtbus_upgrade_message(ngx_http_rtbus_ws_t *ws, u_char *p, size_t len)
{
    ngx_str_t                  owner;
    ngx_http_rtbus_text_t      text;
    ngx_http_rtbus_upgrade_t  *u;

    u = (ngx_http_rtbus_upgrade_t *) ws;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ws->carrier.log, 0,
                   "rtbus upgrade message len:%uz state:%d ours:%d",
                   len, u->state, u->session != NULL);

    if (len == 6 && ngx_memcmp(p, "2probe", 6) == 0
        && u->state == NGX_HTTP_RTBUS_UPGRADE_OPEN)
    {
        ngx_http_rtbus_upgrade_state(u, NGX_HTTP_RTBUS_UPGRADE_PROBED);

        ws->carrier.busy = 1;

        if (ngx_http_rtbus_ws_send(ws, RTBUS_WS_TEXT, (u_char *) "3probe", 6)
            != NGX_OK)
        {
            goto nomem;
        }

        if (u->session) {
            ngx_http_rtbus_session_probed(u->session);

        } else if (u->ref) {
            ngx_http_rtbus_upgrade_tell(u, "probe");
        }

        return NGX_OK;
    }

    if (len != 1 || p[0] != RTBUS_EIO_UPGRADE) {

        /* another WebSocket may try at once */

        ngx_http_rtbus_upgrade_leave(u);

        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "neither probe nor upgrade");
        return NGX_ERROR;
    }

    if (u->session) {
        return ngx_http_rtbus_upgrade_switch(u);
    }

    if (u->ref == 0) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL,
                                     "session has ended");
        return NGX_ERROR;
    }

    u->move = ngx_calloc(sizeof(ngx_http_rtbus_upgrade_move_t),
                         ws->carrier.log);
    if (u->move == NULL) {
        goto nomem;
    }

    ngx_http_rtbus_holds_init(&u->move->holds, &u->worker->hub,
                              ws->carrier.conf->send_buffer / 2,
                              ws->carrier.log);

    if (ngx_http_rtbus_upgrade_begin(u, &text, "channels") != NGX_OK) {
        goto nomem;
    }

    owner.data = u->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    u->ask = ngx_http_rtbus_relay_ask(u->worker->relay, &owner, &text,
                                      NGX_HTTP_RTBUS_UPGRADE_READY,
                                      ngx_http_rtbus_upgrade_told_channels, u);
    if (u->ask == NULL) {
        ngx_http_rtbus_carrier_close(&ws->carrier, RTBUS_WS_INTERNAL,
                                     "owner of the session is out of reach");
        return NGX_ERROR;
    }

    ngx_http_rtbus_upgrade_state(u, NGX_HTTP_RTBUS_UPGRADE_MOVING);

    /* what the client sends next is for the session */

    ngx_http_rtbus_carrier_hold(&ws->carrier, NGX_HTTP_RTBUS_HELD_START);

    return NGX_OK;

nomem:

    ngx_http_rtbus_carrier_nomem(&ws->carrier);

    return NGX_ERROR;
}


/* "upgrade" is the number by which the owner knows who this is */

static ngx_int_t
ngx_http_rtbus_upgrade_begin(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_text_t *text, const char *kind)
{
    ngx_http_rtbus_relay_begin(u->worker->relay, text, kind);

    ngx_http_rtbus_text_lit(text, ",\"id\":");
    ngx_http_rtbus_text_quote(text, u->sid, NGX_HTTP_RTBUS_SESSION_ID);
    ngx_http_rtbus_text_lit(text, ",\"upgrade\":");
    ngx_http_rtbus_text_number(text, u->ref);

    if (text->failed) {
        ngx_http_rtbus_text_free(text);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_rtbus_upgrade_tell(ngx_http_rtbus_upgrade_t *u, const char *kind)
{
    ngx_str_t              owner;
    ngx_http_rtbus_text_t  text;

    if (ngx_http_rtbus_upgrade_begin(u, &text, kind) != NGX_OK) {
        return;
    }

    ngx_http_rtbus_relay_refer(u->worker->relay, &text, 0);

    owner.data = u->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    (void) ngx_http_rtbus_relay_tell(u->worker->relay, &owner, &text, NULL,
                                     NULL);
}


/* at the owner: the session goes on with the other carrier */

static ngx_int_t
ngx_http_rtbus_upgrade_switch(ngx_http_rtbus_upgrade_t *u)
{
    ngx_http_rtbus_session_t  *s;

    s = u->session;

    if (s->poll.post || ngx_http_rtbus_carrier_closing(&s->poll.carrier)) {
        ngx_http_rtbus_carrier_close(&u->ws.carrier, RTBUS_WS_PROTOCOL_ERROR,
                                     "upgrade in the middle of a post");
        return NGX_ERROR;
    }

    ngx_http_rtbus_poll_stop(&s->poll);

    if (s->noop.timer_set) {
        ngx_del_timer(&s->noop);
    }

    ngx_http_rtbus_session_state(s, NGX_HTTP_RTBUS_SESSION_UPGRADED);
    ngx_http_rtbus_session_left(s);

    ngx_http_rtbus_carrier_move(&u->ws.carrier, &s->poll.carrier);

    ngx_http_rtbus_upgrade_start(u, s->eio);

    s->eio->handlers->switched(s->eio);

    return NGX_OK;
}


static void
ngx_http_rtbus_upgrade_start(ngx_http_rtbus_upgrade_t *u,
    ngx_http_rtbus_eio_t *eio)
{
    ngx_http_rtbus_carrier_t  *car;

    car = &u->ws.carrier;

    ngx_http_rtbus_upgrade_state(u, NGX_HTTP_RTBUS_UPGRADE_DONE);

    u->cleanup->handler = NULL;
    car->busy = 0;

    u->ended = car->ended_handler;
    car->ended_handler = ngx_http_rtbus_upgrade_ended;

    ngx_http_rtbus_eio_attach(eio, &u->ws);

    car->transport->timer(car, eio->pinged ? car->conf->ping_timeout
                                           : car->conf->ping_interval);
}


/* at another worker: listens to the channels before it has the session */

static void
ngx_http_rtbus_upgrade_told_channels(void *data, ngx_int_t rc,
    rtbus_str_t *answer)
{
    ngx_http_rtbus_upgrade_t *u = data;

    rtbus_json_member_t             m[] = { rtbus_json_member("channels") };
    ngx_http_rtbus_carrier_t       *car;
    ngx_http_rtbus_upgrade_move_t  *move;

    u->ask = NULL;

    car = &u->ws.carrier;
    move = u->move;

    ngx_http_set_log_request(car->log, u->request);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus upgrade channels of the session, rc:%i closing:%d",
                   rc, ngx_http_rtbus_carrier_closing(car));

    if (rc == NGX_OK && !ngx_http_rtbus_carrier_closing(car)) {

        rtbus_json_members(answer, m, 1);

        if (m[0].value.type == RTBUS_JSON_ARRAY) {
            u->handlers->hold(car, &m[0].value.raw, &move->holds);
        }
    }

    if (ngx_http_rtbus_holds_wait(&move->holds, ngx_http_rtbus_upgrade_ready,
                                  u)
        == NGX_AGAIN)
    {
        move->ready.handler = ngx_http_rtbus_upgrade_expired;
        move->ready.data = u;
        move->ready.log = car->log;
        move->ready.cancelable = 1;

        ngx_add_timer(&move->ready, NGX_HTTP_RTBUS_UPGRADE_READY);
        return;
    }

    ngx_http_rtbus_upgrade_ready(u);
}


static void
ngx_http_rtbus_upgrade_expired(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "rtbus upgrade waits no longer for channels");

    ngx_http_rtbus_upgrade_ready(ev->data);
}


/*
 * The owner delivers what comes before "take", and we keep what comes after it.
 * An answer that we send to ourselves, right behind "take", says when that is.
 * What gets in between the two is lost, but nothing is ever doubled.
 */

static void
ngx_http_rtbus_upgrade_ready(void *data)
{
    ngx_http_rtbus_upgrade_t *u = data;

    ngx_str_t                       owner;
    ngx_http_rtbus_text_t           text;
    ngx_http_rtbus_relay_t         *relay;
    ngx_http_rtbus_carrier_t       *car;
    ngx_http_rtbus_upgrade_move_t  *move;

    car = &u->ws.carrier;
    relay = u->worker->relay;
    move = u->move;

    ngx_http_set_log_request(car->log, u->request);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus upgrade ready to take the session, closing:%d",
                   ngx_http_rtbus_carrier_closing(car));

    move->holds.handler = NULL;

    if (move->ready.timer_set) {
        ngx_del_timer(&move->ready);
    }

    if (ngx_http_rtbus_carrier_closing(car)) {
        ngx_http_rtbus_carrier_release(car, NGX_HTTP_RTBUS_HELD_START);
        return;
    }

    owner.data = u->sid;
    owner.len = NGX_RTBUS_MAILBOX_ID_LEN;

    if (ngx_http_rtbus_upgrade_begin(u, &text, "take") == NGX_OK) {
        u->ask = ngx_http_rtbus_relay_ask(relay, &owner, &text,
                                          NGX_HTTP_RTBUS_UPGRADE_STEP,
                                          ngx_http_rtbus_upgrade_taken, u);
    }

    if (u->ask == NULL) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL,
                                     "owner of the session is out of reach");
        ngx_http_rtbus_carrier_release(car, NGX_HTTP_RTBUS_HELD_START);
        return;
    }

    ngx_http_rtbus_relay_begin(relay, &text, "answer");

    move->mark = ngx_http_rtbus_relay_ask(relay, &relay->mailbox->id, &text,
                                          NGX_HTTP_RTBUS_UPGRADE_STEP,
                                          ngx_http_rtbus_upgrade_marked, move);
}


static void
ngx_http_rtbus_upgrade_marked(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_upgrade_move_t *move = data;

    move->mark = NULL;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "rtbus upgrade mark has come, rc:%i", rc);

    if (rc == NGX_OK) {
        ngx_http_rtbus_holds_begin(&move->holds);
    }
}


static void
ngx_http_rtbus_upgrade_unhold(ngx_http_rtbus_upgrade_t *u)
{
    ngx_http_rtbus_upgrade_move_t  *move;

    move = u->move;

    if (move == NULL) {
        return;
    }

    if (move->mark) {
        ngx_http_rtbus_relay_cancel(move->mark);
    }

    if (move->ready.timer_set) {
        ngx_del_timer(&move->ready);
    }

    ngx_http_rtbus_holds_free(&move->holds);

    ngx_free(move);
    u->move = NULL;
}


/* the session has come, or there is none */

static void
ngx_http_rtbus_upgrade_taken(void *data, ngx_int_t rc, rtbus_str_t *answer)
{
    ngx_http_rtbus_upgrade_t *u = data;

    ngx_http_rtbus_carrier_t  *car;

    u->ask = NULL;

    car = &u->ws.carrier;

    ngx_http_set_log_request(car->log, u->request);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, car->log, 0,
                   "rtbus upgrade session taken, rc:%i closing:%d",
                   rc, ngx_http_rtbus_carrier_closing(car));

    ngx_http_rtbus_carrier_release(car, NGX_HTTP_RTBUS_HELD_START);

    if (ngx_http_rtbus_carrier_closing(car)) {
        return;
    }

    if (rc != NGX_OK || ngx_http_rtbus_upgrade_import(u, answer) != NGX_OK) {
        ngx_http_rtbus_carrier_close(car, RTBUS_WS_INTERNAL,
                                     "session did not come");
    }

    ngx_http_rtbus_upgrade_unhold(u);
}


static ngx_int_t
ngx_http_rtbus_upgrade_import(ngx_http_rtbus_upgrade_t *u, rtbus_str_t *answer)
{
    rtbus_json_member_t    m[] = { rtbus_json_member("session"),
                                   rtbus_json_member("queue"),
                                   rtbus_json_member("opened"),
                                   rtbus_json_member("pinged") };
    uint64_t               n;
    ngx_http_rtbus_eio_t  *eio;

    rtbus_json_members(answer, m, m_members);

    if (m[m_session].value.type != RTBUS_JSON_OBJECT) {
        return NGX_ERROR;
    }

    u->eio = ngx_calloc(u->handlers->size, u->ws.carrier.log);
    if (u->eio == NULL) {
        return NGX_ERROR;
    }

    eio = ngx_http_rtbus_eio_create(u->eio, &u->ws.carrier, u->handlers);

    if (rtbus_json_uint(&m[m_opened].value.raw, &n) == RTBUS_OK) {
        eio->opened -= (ngx_msec_t) n;
    }

    eio->pinged = (rtbus_json_uint(&m[m_pinged].value.raw, &n) == RTBUS_OK
                   && n);

    ngx_http_rtbus_upgrade_start(u, eio);

    if (ngx_http_rtbus_upgrade_queue(u, &m[m_queue].value) != NGX_OK) {
        return NGX_ERROR;
    }

    return u->handlers->import(eio, &m[m_session].value.raw, &u->move->holds);
}


/* queues the packets that were waiting for a poll */

static ngx_int_t
ngx_http_rtbus_upgrade_queue(ngx_http_rtbus_upgrade_t *u,
    rtbus_json_value_t *value)
{
    size_t               len, header;
    u_char              *text;
    ngx_int_t            rc;
    ngx_str_t            raw, data;
    ngx_uint_t           opcode;
    const u_char        *pos, *last;
    ngx_rtbus_frame_t   *frame;
    rtbus_eio_packet_t   packet;

    if (value->type != RTBUS_JSON_STRING || value->raw.len == 2) {
        return NGX_OK;
    }

    text = ngx_alloc(value->raw.len, u->ws.carrier.log);
    if (text == NULL) {
        return NGX_ERROR;
    }

    pos = text;
    last = text + rtbus_json_unquote(text, &value->raw);

    for ( ;; ) {
        rc = rtbus_eio_next(&packet, &pos, last);

        if (rc != RTBUS_OK) {
            rc = (rc == RTBUS_AGAIN) ? NGX_OK : NGX_ERROR;
            break;
        }

        data.data = packet.data.data - 1;
        data.len = packet.data.len + 1;
        opcode = RTBUS_WS_TEXT;

        if (packet.type == RTBUS_EIO_BINARY) {
            raw.data = packet.data.data;
            raw.len = packet.data.len;
            opcode = RTBUS_WS_BINARY;

            if (ngx_decode_base64(&data, &raw) != NGX_OK) {
                rc = NGX_ERROR;
                break;
            }
        }

        header = rtbus_ws_header_len(data.len);
        len = header + data.len;

        frame = ngx_rtbus_frame_create(len);
        if (frame == NULL) {
            rc = NGX_ERROR;
            break;
        }

        (void) rtbus_ws_write_header(frame->data, opcode, data.len);
        ngx_memcpy(frame->data + header, data.data, data.len);

        ngx_http_rtbus_carrier_push(&u->ws.carrier, frame);
        ngx_rtbus_frame_unref(frame);
    }

    ngx_free(text);

    return rc;
}


/* the session ends */

static void
ngx_http_rtbus_upgrade_cancel(ngx_http_rtbus_session_t *s)
{
    ngx_http_rtbus_upgrade_t  *u;

    u = s->upgrade;

    if (u->state != NGX_HTTP_RTBUS_UPGRADE_DONE) {
        ngx_http_rtbus_upgrade_leave(u);

        if (u->state < NGX_HTTP_RTBUS_UPGRADE_PROBED) {
            ngx_http_rtbus_carrier_close(&u->ws.carrier, RTBUS_WS_INTERNAL,
                                         "session has ended");
        }
    }
}
