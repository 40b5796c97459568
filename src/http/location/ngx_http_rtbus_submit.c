
#include "ngx_http_rtbus_submit.h"
#include "ngx_http_rtbus_body.h"
#include "ngx_http_rtbus_command.h"
#include "ngx_http_rtbus_cors.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_name.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_user.h"
#include "rtbus_utf8.h"


#define NGX_HTTP_RTBUS_TOO_MANY  429


/* a request whose command is under way */

typedef struct {
    ngx_http_request_t        *request;
    ngx_http_rtbus_command_t  *cmd;
} ngx_http_rtbus_submit_t;


/* the HTTP status of an error that a socket gets as text */

typedef struct {
    ngx_uint_t                 error;
    ngx_uint_t                 status;
} ngx_http_rtbus_submit_error_t;


static ngx_int_t ngx_http_rtbus_submit_handler(ngx_http_request_t *r);
static void ngx_http_rtbus_submit_body(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_int_t ngx_http_rtbus_submit(ngx_http_request_t *r, ngx_str_t *body);
static ngx_int_t ngx_http_rtbus_submit_event(ngx_http_request_t *r,
    ngx_str_t *name, rtbus_reason_e *reason);
static ngx_int_t ngx_http_rtbus_submit_refuse(ngx_http_request_t *r,
    ngx_uint_t error, const char *text);
static void ngx_http_rtbus_submit_outcome(void *data,
    ngx_http_rtbus_command_t *cmd, ngx_http_rtbus_outcome_t *outcome);
static ngx_int_t ngx_http_rtbus_submit_answer(ngx_http_request_t *r,
    ngx_http_rtbus_outcome_t *outcome);
static void ngx_http_rtbus_submit_cleanup(void *data);


static ngx_http_rtbus_submit_error_t  ngx_http_rtbus_submit_errors[] = {
    { NGX_RTBUS_REASON_EVENT, NGX_HTTP_NOT_FOUND },
    { NGX_RTBUS_REASON_FORBIDDEN, NGX_HTTP_FORBIDDEN },
    { NGX_RTBUS_REASON_REQUESTS, NGX_HTTP_RTBUS_TOO_MANY },
    { NGX_RTBUS_REASON_UNAVAILABLE, NGX_HTTP_SERVICE_UNAVAILABLE },
    { NGX_RTBUS_REASON_BUSY, NGX_HTTP_SERVICE_UNAVAILABLE },
    { NGX_RTBUS_REASON_TIMEOUT, NGX_HTTP_GATEWAY_TIME_OUT },
    { NGX_RTBUS_REASON_REPLY, NGX_HTTP_BAD_GATEWAY },
    { RTBUS_REASON_NONE, NGX_HTTP_BAD_REQUEST }
};


static ngx_int_t
ngx_http_rtbus_submit_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_rtbus_identity_t   id;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    rc = ngx_http_rtbus_admit(r, NGX_HTTP_POST, "POST");
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_rtbus_admit_user(r, &id);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    rc = ngx_http_rtbus_body_type(r);
    if (rc != NGX_OK || r->header_sent) {
        return rc;
    }

    return ngx_http_rtbus_read_body(r, rlcf->max_message,
                                    ngx_http_rtbus_submit_body);
}


static void
ngx_http_rtbus_submit_body(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_http_finalize_request(r, ngx_http_rtbus_submit(r, body));
}


static ngx_int_t
ngx_http_rtbus_submit(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_int_t                    rc;
    const char                  *text;
    rtbus_reason_e               reason;
    rtbus_json_value_t           value;
    ngx_http_cleanup_t          *cln;
    ngx_http_rtbus_asker_t       asker;
    ngx_http_rtbus_input_t       in;
    ngx_http_rtbus_submit_t     *submit;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_outcome_t     refused;
    ngx_http_rtbus_main_conf_t  *rmcf;
    ngx_http_variable_value_t   *user;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);
    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    if (rlcf->bus->worker == NULL) {
        return ngx_http_rtbus_unavailable(r, NULL);
    }

    ngx_memzero(&in, sizeof(ngx_http_rtbus_input_t));

    rc = ngx_http_rtbus_submit_event(r, &in.name, &reason);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_rtbus_submit_refuse(r, reason,
                                            rtbus_reason_text(reason));
    }

    if (body->len) {

        rc = rtbus_json_value(rlcf->bus->worker->hub.json, body->data,
                              body->len, &value, &reason);

        if (rc != RTBUS_OK) {
            return ngx_http_rtbus_submit_refuse(r, reason,
                                                rtbus_reason_text(reason));
        }

        in.data.len = value.raw.len;
        in.data.data = value.raw.data;
        in.args = in.data;
    }

    /* the handler has set the user before the body was read */

    user = ngx_http_get_indexed_variable(r, rmcf->user_index);
    if (user == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_rtbus_submit_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    submit = cln->data;

    submit->request = r;

    asker.worker = rlcf->bus->worker;
    asker.rules = rlcf->commands;
    asker.user.len = user->len;
    asker.user.data = user->data;
    asker.log = r->connection->log;

    ngx_str_null(&asker.sid);
    ngx_str_set(&asker.nsp, "/");

    ngx_memzero(&refused, sizeof(ngx_http_rtbus_outcome_t));

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus submit \"%V\" size:%uz", &in.name, body->len);

    submit->cmd = ngx_http_rtbus_command_run(&asker, &in, 1,
                                             ngx_http_rtbus_submit_outcome,
                                             submit, &refused);
    if (submit->cmd == NULL) {

        if (refused.error == 0) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        text = ngx_http_rtbus_outcome_text(&refused);

        return ngx_http_rtbus_submit_refuse(r, refused.error, text);
    }

    cln->handler = ngx_http_rtbus_submit_cleanup;

    if (ngx_http_rtbus_wait(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->connection->log->action = "waiting for producer";

    return NGX_DONE;
}


/* NGX_OK; NGX_DECLINED: the name is bad, *reason says why; NGX_ERROR */

static ngx_int_t
ngx_http_rtbus_submit_event(ngx_http_request_t *r, ngx_str_t *name,
    rtbus_reason_e *reason)
{
    rtbus_str_t                 raw;
    rtbus_event_t               event;
    ngx_http_rtbus_loc_conf_t  *rlcf;
    u_char                      json[6 * RTBUS_EVENT_NAME_MAX + 2];

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (ngx_http_rtbus_name_eval(r, rlcf->submit, name) == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (name->len > RTBUS_EVENT_NAME_MAX) {
        *reason = RTBUS_REASON_NAME_LONG;
        return NGX_DECLINED;
    }

    if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, name->data, name->len)
        != RTBUS_UTF8_ACCEPT)
    {
        *reason = RTBUS_REASON_UTF8;
        return NGX_DECLINED;
    }

    /* the same names as on a socket */

    raw.data = json;
    raw.len = rtbus_json_quote(json, name->data, name->len);

    return (rtbus_event_name(&event, &raw, reason) == RTBUS_OK) ? NGX_OK
                                                               : NGX_DECLINED;
}


static ngx_int_t
ngx_http_rtbus_submit_refuse(ngx_http_request_t *r, ngx_uint_t error,
    const char *text)
{
    ngx_http_rtbus_submit_error_t  *e;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "rtbus: command is refused: %s", text);

    for (e = ngx_http_rtbus_submit_errors; e->error; e++) {
        if (e->error == error) {
            break;
        }
    }

    ngx_http_rtbus_refused(r, e->status, error);

    return ngx_http_rtbus_error_text(r, e->status, text, NULL, NULL);
}


static void
ngx_http_rtbus_submit_outcome(void *data, ngx_http_rtbus_command_t *cmd,
    ngx_http_rtbus_outcome_t *outcome)
{
    ngx_http_rtbus_submit_t  *submit = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    submit->cmd = NULL;

    r = submit->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "rtbus submit to \"%V\" done", &r->uri);

    ngx_http_finalize_request(r, ngx_http_rtbus_submit_answer(r, outcome));

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_rtbus_submit_answer(ngx_http_request_t *r,
    ngx_http_rtbus_outcome_t *outcome)
{
    ngx_str_t            json;
    rtbus_str_t          raw;
    const char          *text;
    const uint8_t       *pos;
    rtbus_json_value_t   first, other;

    if (outcome->error) {
        text = ngx_http_rtbus_outcome_text(outcome);

        return ngx_http_rtbus_submit_refuse(r, outcome->error, text);
    }

    if (outcome->id.len) {
        json.data = ngx_pnalloc(r->pool, NGX_HTTP_RTBUS_OUTCOME_MAX);
        if (json.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        json.len = ngx_http_rtbus_outcome_json(outcome, json.data);

        return ngx_http_rtbus_reply(r, NGX_HTTP_ACCEPTED, &json);
    }

    /* a single argument is answered without the array around it */

    raw = outcome->data.raw;

    if (outcome->data.type == RTBUS_JSON_ARRAY) {
        pos = NULL;

        if (rtbus_json_next(&first, &pos, &raw) != RTBUS_OK) {
            raw.len = 0;

        } else if (rtbus_json_next(&other, &pos, &raw) != RTBUS_OK) {
            raw = first.raw;
        }
    }

    if (outcome->data.type == RTBUS_JSON_NONE || raw.len == 0) {
        raw.data = (uint8_t *) "null";
        raw.len = 4;
    }

    json.len = raw.len;
    json.data = ngx_pnalloc(r->pool, raw.len);

    if (json.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(json.data, raw.data, raw.len);

    return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &json);
}


static void
ngx_http_rtbus_submit_cleanup(void *data)
{
    ngx_http_rtbus_submit_t  *submit = data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, submit->request->connection->log, 0,
                   "rtbus submit cleanup, command:%d", submit->cmd != NULL);

    if (submit->cmd) {
        ngx_http_rtbus_command_leave(submit->cmd);
        submit->cmd = NULL;
    }
}


char *
ngx_http_rtbus_conf_submit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t  *value;

    if (rlcf->submit) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].data[0] == '@') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid event \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    rlcf->submit = ngx_palloc(cf->pool, sizeof(ngx_http_rtbus_name_t));
    if (rlcf->submit == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_rtbus_name_cut(cf, &value[1], rlcf->submit) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_submit_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
