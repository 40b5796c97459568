
/*
 * What is wrong with a request of Engine.IO, for all who refuse one: the
 * transport, the session, the worker that has the session.
 */


#ifndef _NGX_HTTP_RTBUS_EIO_ERROR_H_INCLUDED_
#define _NGX_HTTP_RTBUS_EIO_ERROR_H_INCLUDED_


/* codes and words are those of the reference server */

typedef enum {
    NGX_HTTP_RTBUS_EIO_TRANSPORT = 0,
    NGX_HTTP_RTBUS_EIO_SID,
    NGX_HTTP_RTBUS_EIO_METHOD,
    NGX_HTTP_RTBUS_EIO_REQUEST,
    NGX_HTTP_RTBUS_EIO_FORBIDDEN,
    NGX_HTTP_RTBUS_EIO_VERSION,
    NGX_HTTP_RTBUS_EIO_AWAY,         /* ours: 503 */
    NGX_HTTP_RTBUS_EIO_OK            /* no refusal */
} ngx_http_rtbus_eio_error_e;


#endif /* _NGX_HTTP_RTBUS_EIO_ERROR_H_INCLUDED_ */
