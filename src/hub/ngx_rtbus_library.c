
#include "ngx_rtbus_library.h"


#define NGX_RTBUS_LIBRARY_VERSION  5    /* see rtbus_version in the code */


static void ngx_rtbus_library_load(ngx_rtbus_library_t *library,
    ngx_uint_t replace);
static void ngx_rtbus_library_ask(ngx_rtbus_library_t *library);
static void ngx_rtbus_library_loaded(void *data, redisReply *reply);
static void ngx_rtbus_library_replaced(void *data, redisReply *reply);
static void ngx_rtbus_library_version(void *data, redisReply *reply);


/* made of conf/rtbus.lua by the configure script of the module */

static const char  ngx_rtbus_library_code[] =
#include "ngx_rtbus_library.inc"
;


void
ngx_rtbus_libraries_init(ngx_rtbus_libraries_t *all)
{
    ngx_queue_init(&all->servers);
}


void
ngx_rtbus_library_init(ngx_rtbus_library_t *library,
    ngx_rtbus_libraries_t *all, ngx_rtbus_redis_cmd_t *cmd)
{
    library->all = all;
    library->cmd = cmd;

    ngx_queue_insert_tail(&all->servers, &library->queue);
}


void
ngx_rtbus_library_close(ngx_rtbus_library_t *library)
{
    ngx_queue_remove(&library->queue);
}


void
ngx_rtbus_library_lost(ngx_rtbus_libraries_t *all)
{
    ngx_queue_t          *q;
    ngx_rtbus_library_t  *library;

    if (all->checked == ngx_time()) {
        return;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_CORE, all->log, 0,
                   "rtbus: library is missing, all servers are looked at");

    all->checked = ngx_time();

    for (q = ngx_queue_head(&all->servers);
         q != ngx_queue_sentinel(&all->servers);
         q = ngx_queue_next(q))
    {
        library = ngx_queue_data(q, ngx_rtbus_library_t, queue);

        if (library->cmd->conn.up) {
            ngx_rtbus_library_check(library);
        }
    }
}


void
ngx_rtbus_library_check(ngx_rtbus_library_t *library)
{
    library->asked = 0;

    /*
     * The code is sent without asking first, so that the next call finds it;
     * where there is one already, Redis refuses it and nothing has happened.
     */

    if (library->all->load) {
        ngx_rtbus_library_load(library, 0);
    }

    ngx_rtbus_library_ask(library);
}


static void
ngx_rtbus_library_load(ngx_rtbus_library_t *library, ngx_uint_t replace)
{
    int          argc;
    size_t       len[4];
    const char  *argv[4];

    argc = 0;

    argv[argc] = "FUNCTION";
    len[argc++] = 8;
    argv[argc] = "LOAD";
    len[argc++] = 4;

    if (replace) {
        argv[argc] = "REPLACE";
        len[argc++] = 7;
    }

    argv[argc] = ngx_rtbus_library_code;
    len[argc++] = sizeof(ngx_rtbus_library_code) - 1;

    (void) ngx_rtbus_redis_cmd_call(library->cmd, argc, argv, len,
                                    replace ? ngx_rtbus_library_replaced
                                            : ngx_rtbus_library_loaded,
                                    library);
}


void
ngx_rtbus_library_look(ngx_rtbus_library_t *library)
{
    if (library->seen && library->cmd->conn.up) {
        library->asked = 0;
        ngx_rtbus_library_ask(library);
    }
}


static void
ngx_rtbus_library_ask(ngx_rtbus_library_t *library)
{
    static const char    *argv[] = { "FCALL_RO", "rtbus_version", "0" };
    static const size_t   len[] = { 8, 13, 1 };

    (void) ngx_rtbus_redis_cmd_call(library->cmd, 3, argv, len,
                                    ngx_rtbus_library_version, library);
}


static void
ngx_rtbus_library_loaded(void *data, redisReply *reply)
{
    ngx_rtbus_library_t  *library = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {

        if (ngx_strstr(reply->str, "already exists") == NULL) {
            /* the check of the version tells whether it matters */
            ngx_log_error(NGX_LOG_INFO, library->all->log, 0,
                          "rtbus: Redis refused the function library: %s",
                          reply->str);
        }

        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, library->all->log, 0,
                  "rtbus: function library loaded into Redis");
}


static void
ngx_rtbus_library_replaced(void *data, redisReply *reply)
{
    ngx_rtbus_library_t  *library = data;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_ERR, library->all->log, 0,
                      "rtbus: cannot replace the function library in Redis: "
                      "%s", reply->str);
        return;
    }

    if (reply) {
        ngx_log_error(NGX_LOG_NOTICE, library->all->log, 0,
                      "rtbus: function library in Redis replaced");
    }
}


static void
ngx_rtbus_library_version(void *data, redisReply *reply)
{
    ngx_rtbus_library_t  *library = data;

    if (reply == NULL) {
        return;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, library->all->log, 0,
                   "rtbus: library version, type:%d seen:%d asked:%d",
                   reply->type, library->seen, library->asked);

    if (reply->type == REDIS_REPLY_INTEGER
        && reply->integer >= NGX_RTBUS_LIBRARY_VERSION)
    {
        library->complained = 0;
        library->seen = 1;
        library->lost = 0;
        return;
    }

    if (library->seen && ngx_rtbus_library_missing(reply)) {
        library->lost = 1;

        if (library->all->load && !library->asked) {
            library->asked = 1;
            ngx_rtbus_library_load(library, 0);
            ngx_rtbus_library_ask(library);
            return;
        }
    }

    if (reply->type == REDIS_REPLY_INTEGER && library->all->load
        && !library->asked)
    {
        library->asked = 1;
        ngx_rtbus_library_load(library, 1);
        return;
    }

    if (library->complained) {
        return;
    }

    library->complained = 1;

    if (reply->type == REDIS_REPLY_INTEGER) {
        ngx_log_error(NGX_LOG_ERR, library->all->log, 0,
                      "rtbus: the function library in Redis has version %L, "
                      "%d is needed; load conf/rtbus.lua with "
                      "\"FUNCTION LOAD REPLACE\"",
                      (int64_t) reply->integer, NGX_RTBUS_LIBRARY_VERSION);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, library->all->log, 0,
                  "rtbus: Redis has no function library \"rtbus\", publishing "
                  "and snapshots do not work; load conf/rtbus.lua with "
                  "\"FUNCTION LOAD\" (%s)",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "bad reply");
}


ngx_uint_t
ngx_rtbus_library_missing(redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR
           && ngx_strncmp(reply->str, "ERR Function not found", 22) == 0;
}
