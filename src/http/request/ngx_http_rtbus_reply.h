
/*
 * Whole answers: JSON bodies with their status and headers, and the calls to
 * Redis that an answer waits for.
 */


#ifndef _NGX_HTTP_RTBUS_REPLY_H_INCLUDED_
#define _NGX_HTTP_RTBUS_REPLY_H_INCLUDED_


#include "ngx_http_rtbus_module.h"


/*
 * Unless said otherwise, the functions below answer what a content handler has
 * to return; event handlers pass it to ngx_http_finalize_request().  JSON and
 * values of headers are memory of r->pool or static.
 *
 * A body of the request that was not read is discarded.
 */

/*
 * A JSON body (not sent for HEAD) with "Cache-Control: no-store", whatever
 * If-Match and the like may ask for.
 */

ngx_int_t ngx_http_rtbus_reply(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *json);

/* 200 with a text of that type, likewise */

ngx_int_t ngx_http_rtbus_reply_text(ngx_http_request_t *r, ngx_str_t *type,
    ngx_str_t *text);

/*
 * 200 that the client may keep and ask about again: "Cache-Control: no-cache"
 * and the ETag (in its quotes), or 304 as If-None-Match has it.
 */

ngx_int_t ngx_http_rtbus_reply_etag(ngx_http_request_t *r, ngx_str_t *json,
    ngx_str_t *etag);

/*
 * Sends the header of a stream of that type, 200, which nobody keeps or holds
 * back; type stays the caller's memory.  Returns what ngx_http_send_header()
 * does, or NGX_HTTP_INTERNAL_SERVER_ERROR.
 */

ngx_int_t ngx_http_rtbus_stream_header(ngx_http_request_t *r, ngx_str_t *type);

/*
 * {"error":"<error>"} and, with name not NULL, ,"<name>":"<value>".  Adds what
 * the status asks for: Retry-After for 503.
 */

ngx_int_t ngx_http_rtbus_error(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t error, const char *name, ngx_str_t *value);

/* the same with a text of its own; it is neither logged nor counted */

ngx_int_t ngx_http_rtbus_error_text(ngx_http_request_t *r, ngx_uint_t status,
    const char *error, const char *name, ngx_str_t *value);

/* logs and counts a refusal that ngx_http_rtbus_error() does not answer */

void ngx_http_rtbus_refused(ngx_http_request_t *r, ngx_uint_t status,
    ngx_uint_t error);

/* 405 with Allow: methods */

ngx_int_t ngx_http_rtbus_not_allowed(ngx_http_request_t *r,
    const char *methods);

/*
 * 503 for a call to Redis that has failed (reply NULL) or was answered with an
 * error; logs it.
 */

ngx_int_t ngx_http_rtbus_unavailable(ngx_http_request_t *r,
    redisReply *reply);

/*
 * The level of a complaint about the data in Redis: a client may ask for it as
 * often as it likes, so the level is NGX_LOG_ERR once a minute, and otherwise
 * NGX_LOG_INFO.  last: the time of the last NGX_LOG_ERR.
 */

ngx_uint_t ngx_http_rtbus_complaint(time_t *last);

/* adds a header, name is static text; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_rtbus_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);


/*
 * The reply to a call, NULL if it failed; returns what the request is to be
 * finalized with, NGX_DONE if another call will do that.  Not called if the
 * request has ended before, say because the client is gone.
 */
typedef ngx_int_t (*ngx_http_rtbus_call_pt)(ngx_http_request_t *r, void *data,
    redisReply *reply);

/*
 * Calls Redis on behalf of the request, which lives until the reply is there.
 * With NGX_DONE the handler will be called; if Redis is away, 503 is answered.
 */

ngx_int_t ngx_http_rtbus_call(ngx_http_request_t *r, int argc,
    const char **argv, const size_t *argvlen, ngx_http_rtbus_call_pt handler,
    void *data);

/*
 * Keeps the request until what it waits for finalizes it: the content handler
 * has to return NGX_DONE.  NGX_OK or NGX_ERROR.
 */

ngx_int_t ngx_http_rtbus_wait(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RTBUS_REPLY_H_INCLUDED_ */
