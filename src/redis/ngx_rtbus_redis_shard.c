
#include "ngx_rtbus_redis_shard.h"
#include "ngx_rtbus_redis_role.h"
#include "rtbus_slot.h"


#define NGX_RTBUS_REDIS_SHARD_TAGS    1000000


static size_t ngx_rtbus_redis_shard_peer(ngx_rtbus_redis_conn_t *rc,
    u_char *text);
static ngx_int_t ngx_rtbus_redis_shard_resolve(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, redisReply *node);
static ngx_int_t ngx_rtbus_redis_shard_ip(ngx_rtbus_redis_conn_t *rc,
    redisReply *node, ngx_str_t *ip);
static void ngx_rtbus_redis_shard_readdress(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, redisReply *node);
static ngx_int_t ngx_rtbus_redis_shard_address(ngx_rtbus_redis_shard_t *shard,
    ngx_str_t *ip);
static void ngx_rtbus_redis_shard_sub_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_cmd_locate(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_sub_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_cmd_full(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_exiting(ngx_rtbus_redis_conn_t *rc);
static void ngx_rtbus_redis_shard_role(void *data, redisReply *reply);
static void ngx_rtbus_redis_shard_demoted(ngx_rtbus_redis_cmd_t *rm);


ngx_int_t
ngx_rtbus_redis_shard_init(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    shard->shards = shards;

    shard->timer.handler = shards->links->timer;
    shard->timer.data = shard;
    shard->timer.log = shards->log;
    shard->timer.cancelable = 1;

    shard->sub.changed_handler = shards->links->sub_changed;
    shard->sub.exiting_handler = ngx_rtbus_redis_shard_exiting;
    shard->sub.data = shards->data;

    shard->cmd.changed_handler = shards->links->cmd_changed;

    shard->sub.conn.full_handler = ngx_rtbus_redis_shard_sub_full;
    shard->cmd.conn.full_handler = ngx_rtbus_redis_shard_cmd_full;

    if (shards->cluster) {
        shard->sub.cluster = 1;
        shard->sub.elsewhere_handler = shards->links->elsewhere;
        shard->sub.conn.locate_handler = ngx_rtbus_redis_shard_sub_locate;
        shard->cmd.error_handler = shards->links->error;
        shard->cmd.conn.locate_handler = ngx_rtbus_redis_shard_cmd_locate;

    } else {
        shard->cmd.demoted_handler = ngx_rtbus_redis_shard_demoted;
    }

    return ngx_rtbus_redis_sub_init(&shard->sub, shards->conf, shards->log);
}


void
ngx_rtbus_redis_shard_places(ngx_rtbus_redis_shard_t *shard, ngx_uint_t keep)
{
    ngx_log_t  *log;

    log = shard->shards->log;

    if (keep) {
        ngx_rtbus_redis_conn_keep_place(&shard->sub.conn, log);
        ngx_rtbus_redis_conn_keep_place(&shard->cmd.conn, log);
        return;
    }

    ngx_rtbus_redis_conn_drop_place(&shard->sub.conn);
    ngx_rtbus_redis_conn_drop_place(&shard->cmd.conn);
}


void
ngx_rtbus_redis_shard_open(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = shard->shards;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, shards->log, 0,
                   "rtbus: redis shard \"%V\" is opened", &shard->node.name);

    shard->open = 1;
    shard->used = ngx_current_msec;

    shards->handlers->opened(shard);

    /* of memory they take none yet */

    (void) ngx_rtbus_redis_conn_init(&shard->sub.conn, shards->log);
    (void) ngx_rtbus_redis_cmd_init(&shard->cmd, shards->conf, shards->log);

    if (shards->cluster) {
        shard->opening = 1;
        ngx_add_timer(&shard->timer, shards->conf->connect_timeout);
    }
}


void
ngx_rtbus_redis_shard_stop(ngx_rtbus_redis_shard_t *shard)
{
    if (!shard->open) {
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, shard->shards->log, 0,
                   "rtbus: redis shard \"%V\" is closed", &shard->node.name);

    ngx_rtbus_redis_cmd_close(&shard->cmd);
    shard->shards->handlers->closed(shard);
    ngx_rtbus_redis_sub_stop(&shard->sub);

    if (shard->timer.timer_set) {
        ngx_del_timer(&shard->timer);
    }

    shard->open = 0;
    shard->opening = 0;
}


void
ngx_rtbus_redis_shard_free(ngx_rtbus_redis_shard_t *shard)
{
    ngx_queue_remove(&shard->queue);
    ngx_rtbus_redis_shard_places(shard, 0);
    ngx_rtbus_redis_sub_close(&shard->sub);
    ngx_free(shard);
}


ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shard(ngx_rtbus_redis_shards_t *shards, u_char *name,
    size_t len)
{
    ngx_rtbus_redis_shard_t  *shard;

    if (shards->slots == NULL) {
        return &shards->one;
    }

    shard = shards->slots[rtbus_slot(name, len)];

    if (shard == NULL) {
        return &shards->one;
    }

    if (!shard->open && !shards->closed) {
        ngx_rtbus_redis_shard_open(shard);
    }

    return shard;
}


ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shards_next(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_shard_t *shard)
{
    ngx_queue_t  *q;

    for (q = shard ? ngx_queue_next(&shard->queue)
                   : ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->open) {
            return shard;
        }
    }

    return NULL;
}


ngx_int_t
ngx_rtbus_redis_shard_has_tag(ngx_rtbus_redis_shard_t *shard, ngx_uint_t n)
{
    u_char                    *p;
    u_char                     buf[NGX_INT_T_LEN];
    ngx_rtbus_redis_shards_t  *shards;

    shards = shard->shards;

    if (shards->slots == NULL) {
        return NGX_DECLINED;
    }

    p = ngx_sprintf(buf, "%ui", n);

    return (shards->slots[rtbus_slot(buf, p - buf)] == shard) ? NGX_OK
                                                              : NGX_DECLINED;
}


ngx_int_t
ngx_rtbus_redis_shard_tag(ngx_rtbus_redis_shard_t *shard, ngx_uint_t *n)
{
    if (!shard->listed) {
        return NGX_DECLINED;
    }

    for (*n = 0; *n < NGX_RTBUS_REDIS_SHARD_TAGS; (*n)++) {

        if (ngx_rtbus_redis_shard_has_tag(shard, *n) == NGX_OK) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


ngx_rtbus_redis_shard_t *
ngx_rtbus_redis_shard_find(ngx_rtbus_redis_shards_t *shards,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, in_port_t port,
    redisReply *node)
{
    u_char                   *p;
    ngx_str_t                 name;
    ngx_uint_t                v6;
    ngx_queue_t              *q;
    ngx_rtbus_redis_shard_t  *shard;
    u_char                    buf[NGX_RTBUS_REDIS_SHARD_NAME];
    u_char                    text[NGX_SOCKADDR_STRLEN];
    ngx_str_t                 ip;

    if (host->len == 0) {
        ip.data = text;
        ip.len = ngx_rtbus_redis_shard_peer(rc, text);

        host = &ip;
    }

    v6 = (ngx_strlchr(host->data, host->data + host->len, ':') != NULL);

    if (host->len == 0
        || host->len + sizeof("[]:65535") - 1 > NGX_RTBUS_REDIS_SHARD_NAME)
    {
        return NULL;
    }

    p = ngx_sprintf(buf, v6 ? "[%V]:%ui" : "%V:%ui", host, (ngx_uint_t) port);

    name.len = p - buf;
    name.data = buf;

    for (q = ngx_queue_head(&shards->all);
         q != ngx_queue_sentinel(&shards->all);
         q = ngx_queue_next(q))
    {
        shard = ngx_queue_data(q, ngx_rtbus_redis_shard_t, queue);

        if (shard->node.name.len == name.len
            && ngx_memcmp(shard->node.name.data, buf, name.len) == 0)
        {
            ngx_rtbus_redis_shard_readdress(shard, rc, node);
            return shard;
        }
    }

    shard = ngx_calloc(sizeof(ngx_rtbus_redis_shard_t), shards->log);
    if (shard == NULL) {
        return NULL;
    }

    shard->shards = shards;

    ngx_memcpy(shard->name, buf, name.len);

    shard->node.name.len = name.len;
    shard->node.name.data = shard->name;
    shard->node.host.len = host->len;
    shard->node.host.data = shard->name + v6;
    shard->node.port = port;

    if (ngx_rtbus_redis_shard_resolve(shard, rc, host, node) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, shards->log, 0,
                      "rtbus: the address of \"%V\" in the cluster \"%V\" is "
                      "not known", &name, &shards->conf->name);
        ngx_free(shard);
        return NULL;
    }

    if (ngx_rtbus_redis_shard_init(shards, shard) != NGX_OK) {
        ngx_rtbus_redis_sub_close(&shard->sub);
        ngx_free(shard);
        return NULL;
    }

    ngx_queue_insert_tail(&shards->all, &shard->queue);

    return shard;
}


/* the address of who has told */

static size_t
ngx_rtbus_redis_shard_peer(ngx_rtbus_redis_conn_t *rc, u_char *text)
{
    return ngx_sock_ntop(rc->peer.sockaddr, rc->peer.socklen, text,
                         NGX_SOCKADDR_STRLEN, 0);
}


/*
 * The host is usually an address.  If it is a name, Redis sends the address
 * with it, unless the node is alone and does not know its own address; then the
 * name may be one of the URL.
 */

static ngx_int_t
ngx_rtbus_redis_shard_resolve(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, ngx_str_t *host, redisReply *node)
{
    size_t                   i;
    ngx_str_t                ip;
    u_char                   text[NGX_SOCKADDR_STRLEN];
    ngx_rtbus_redis_conf_t  *conf;

    if (ngx_rtbus_redis_shard_address(shard, host) == NGX_OK) {
        return NGX_OK;
    }

    ip.data = text;

    if (ngx_rtbus_redis_shard_ip(rc, node, &ip) == NGX_OK
        && ngx_rtbus_redis_shard_address(shard, &ip) == NGX_OK)
    {
        return NGX_OK;
    }

    conf = shard->shards->conf;

    for (i = 0; i < conf->nnodes; i++) {

        if (conf->nodes[i].port == shard->node.port
            && conf->nodes[i].host.len == host->len
            && ngx_strncasecmp(conf->nodes[i].host.data, host->data, host->len)
               == 0)
        {
            shard->node.addrs = conf->nodes[i].addrs;
            shard->node.naddrs = conf->nodes[i].naddrs;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* the address beside a name; ip has room for that of who has told */

static ngx_int_t
ngx_rtbus_redis_shard_ip(ngx_rtbus_redis_conn_t *rc, redisReply *node,
    ngx_str_t *ip)
{
    size_t       i;
    redisReply  *meta, *name, *value;

    if (node == NULL || node->elements < 4
        || node->element[3]->type != REDIS_REPLY_ARRAY)
    {
        return NGX_DECLINED;
    }

    meta = node->element[3];

    for (i = 0; i + 1 < meta->elements; i += 2) {
        name = meta->element[i];
        value = meta->element[i + 1];

        if (name->type != REDIS_REPLY_STRING
            || value->type != REDIS_REPLY_STRING
            || name->len != 2 || ngx_strncmp(name->str, "ip", 2) != 0)
        {
            continue;
        }

        if (value->len == 0) {
            ip->len = ngx_rtbus_redis_shard_peer(rc, ip->data);
            return NGX_OK;
        }

        ip->len = value->len;
        ip->data = (u_char *) value->str;

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/*
 * A known name may have another address by now.  Links that are up stay, since
 * not all nodes learn of it at the same time.
 */

static void
ngx_rtbus_redis_shard_readdress(ngx_rtbus_redis_shard_t *shard,
    ngx_rtbus_redis_conn_t *rc, redisReply *node)
{
    ngx_str_t       ip;
    socklen_t       socklen;
    ngx_sockaddr_t  sa;
    u_char          text[NGX_SOCKADDR_STRLEN];

    if (ngx_rtbus_redis_address(&shard->node.host, shard->node.port, &sa,
                                &socklen)
        == NGX_OK)
    {
        return;
    }

    ip.data = text;

    if (ngx_rtbus_redis_shard_ip(rc, node, &ip) != NGX_OK
        || ngx_rtbus_redis_address(&ip, shard->node.port, &sa, &socklen)
           != NGX_OK)
    {
        return;
    }

    if (shard->node.addrs == &shard->addr
        && ngx_cmp_sockaddr(&sa.sockaddr, socklen, shard->addr.sockaddr,
                            shard->addr.socklen, 1)
           == NGX_OK)
    {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, shard->shards->log, 0,
                  "rtbus: \"%V\" of the cluster \"%V\" has the address %V now",
                  &shard->node.name, &shard->shards->conf->name, &ip);

    (void) ngx_rtbus_redis_shard_address(shard, &ip);

    if (!shard->open) {
        return;
    }

    if (!shard->sub.conn.up) {
        ngx_rtbus_redis_conn_relocate(&shard->sub.conn,
                                      "it has another address");
    }

    if (!shard->cmd.conn.up) {
        ngx_rtbus_redis_conn_relocate(&shard->cmd.conn,
                                      "it has another address");
    }
}


static ngx_int_t
ngx_rtbus_redis_shard_address(ngx_rtbus_redis_shard_t *shard, ngx_str_t *ip)
{
    socklen_t       socklen;
    ngx_sockaddr_t  sa;

    if (ngx_rtbus_redis_address(ip, shard->node.port, &sa, &socklen) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    shard->sockaddr = sa;
    shard->addr.socklen = socklen;
    shard->addr.sockaddr = &shard->sockaddr.sockaddr;
    shard->addr.name = shard->node.name;

    shard->node.addrs = &shard->addr;
    shard->node.naddrs = 1;

    return NGX_OK;
}


static void
ngx_rtbus_redis_shard_sub_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conn_located(rc, &ngx_rtbus_redis_sub_shard(rc->data)->node,
                                 NULL);
}


static void
ngx_rtbus_redis_shard_cmd_locate(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_conn_located(rc, &ngx_rtbus_redis_cmd_shard(rc->data)->node,
                                 NULL);
}


static void
ngx_rtbus_redis_shard_sub_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_sub_shard(rc->data)->shards;

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_shard_cmd_full(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_cmd_shard(rc->data)->shards;

    shards->handlers->full(shards->data);
}


static void
ngx_rtbus_redis_shard_exiting(ngx_rtbus_redis_conn_t *rc)
{
    ngx_rtbus_redis_shards_t  *shards;

    shards = ngx_rtbus_redis_sub_shard(rc->data)->shards;

    shards->handlers->exiting(shards->data);
}


void
ngx_rtbus_redis_shard_look(ngx_rtbus_redis_shard_t *shard)
{
    ngx_rtbus_redis_shards_t  *shards;

    static const char         *argv[] = { "ROLE" };
    static const size_t        len[] = { 4 };

    shards = shard->shards;

    if (!shards->cluster && shards->conf->only_master
        && !shard->cmd.conn.mute)
    {
        (void) ngx_rtbus_redis_cmd_call(&shard->cmd, 1, argv, len,
                                        ngx_rtbus_redis_shard_role, shard);
    }
}


static void
ngx_rtbus_redis_shard_role(void *data, redisReply *reply)
{
    ngx_rtbus_redis_shard_t *shard = data;

    if (reply == NULL) {
        return;
    }

    if (ngx_rtbus_redis_role_mute(reply)) {
        shard->cmd.conn.mute = 1;
        return;
    }

    if (ngx_rtbus_redis_role(&shard->cmd.conn, reply)
        && shard->cmd.conn.replica)
    {
        ngx_rtbus_redis_shard_demoted(&shard->cmd);
    }
}


/*
 * The other link probably leads to the same server.  From now on neither link
 * counts as up until the server has said that it is a master.
 */

static void
ngx_rtbus_redis_shard_demoted(ngx_rtbus_redis_cmd_t *rm)
{
    ngx_rtbus_redis_shard_t  *shard;

    shard = ngx_rtbus_redis_cmd_shard(rm);

    shard->sub.conn.replica = 1;
    shard->cmd.conn.replica = 1;

    if (shard->cmd.conn.check == NULL) {
        shard->sub.conn.check = &ngx_rtbus_redis_role_check;
        shard->cmd.conn.check = &ngx_rtbus_redis_role_check;
    }

    ngx_rtbus_redis_conn_fail(&shard->sub.conn,
                              "it is not the master any more");
    ngx_rtbus_redis_conn_fail(&shard->cmd.conn,
                              "it is not the master any more");
}
