
/*
 * What the workers have counted, in the text format of Prometheus (version
 * 0.0.4) or as JSON, and whether they are well.
 */


#include "ngx_http_rtbus_status.h"
#include "ngx_http_rtbus_handler.h"
#include "ngx_http_rtbus_reply.h"
#include "ngx_http_rtbus_request.h"


/* a seconds' value: whole ones, a dot, three digits */
#define NGX_HTTP_RTBUS_NUMBER  (NGX_INT64_LEN + 4)

/* the health of a bus as JSON, with its name and a reason, at most */
#define NGX_HTTP_RTBUS_HEALTH  (256 + 2 * NGX_RTBUS_STAT_NAME)


/* a line about a server of a cluster, and what is ahead of them, at most */
#define NGX_HTTP_RTBUS_SHARD   (128 + NGX_RTBUS_STAT_NAME                     \
                                + NGX_RTBUS_STAT_SHARD + NGX_INT64_LEN)
#define NGX_HTTP_RTBUS_SHARDS  1024


/* sums over the workers, of one bus or of all */

typedef struct {
    ngx_str_t                 *bus;        /* NULL: of all */
    ngx_rtbus_stat_total_t     total;
    ngx_uint_t                 nshards;    /* servers of clusters */
    ngx_rtbus_stat_shard_t    *shards;
} ngx_http_rtbus_sums_t;


static ngx_http_rtbus_sums_t *ngx_http_rtbus_status_sums(
    ngx_http_request_t *r, ngx_uint_t *n);
static u_char *ngx_http_rtbus_status_text(u_char *p,
    ngx_http_rtbus_sums_t *sums, ngx_uint_t n);
static u_char *ngx_http_rtbus_status_text_sums(u_char *p,
    ngx_http_rtbus_sums_t *sums, const ngx_rtbus_metric_t *metric);
static u_char *ngx_http_rtbus_status_text_times(u_char *p,
    ngx_http_rtbus_sums_t *sums, const ngx_rtbus_metric_t *metric);
static u_char *ngx_http_rtbus_status_text_shards(u_char *p,
    ngx_http_rtbus_sums_t *sums, ngx_uint_t n);
static u_char *ngx_http_rtbus_status_text_shard(u_char *p,
    ngx_http_rtbus_sums_t *sums, const char *metric, ngx_uint_t i);
static u_char *ngx_http_rtbus_status_labels(u_char *p, ngx_str_t *bus,
    const char *label, const char *value);
static u_char *ngx_http_rtbus_status_json(u_char *p,
    ngx_http_rtbus_sums_t *sums, ngx_uint_t n);
static u_char *ngx_http_rtbus_status_json_sums(u_char *p,
    ngx_http_rtbus_sums_t *sums);
static u_char *ngx_http_rtbus_status_json_shards(u_char *p,
    ngx_http_rtbus_sums_t *sums);
static u_char *ngx_http_rtbus_status_json_times(u_char *p,
    ngx_rtbus_stat_total_t *total, const ngx_rtbus_metric_t *metric);
static u_char *ngx_http_rtbus_status_value(u_char *p,
    ngx_rtbus_stat_total_t *total, const ngx_rtbus_metric_t *metric,
    ngx_uint_t i);
static u_char *ngx_http_rtbus_status_seconds(u_char *p, ngx_atomic_uint_t ms);
static ngx_int_t ngx_http_rtbus_status_shards(ngx_http_request_t *r,
    ngx_http_rtbus_sums_t *sums, ngx_rtbus_stat_zone_t *zone);
static size_t ngx_http_rtbus_status_size(ngx_uint_t n,
    ngx_http_rtbus_sums_t *sums);
static ngx_http_rtbus_bus_t *ngx_http_rtbus_health_bus(
    ngx_http_rtbus_main_conf_t *rmcf, ngx_str_t *name);
static u_char *ngx_http_rtbus_health_json(u_char *p, ngx_str_t *bus,
    ngx_rtbus_stat_total_t *total);


static ngx_str_t  ngx_http_rtbus_text_type =
    ngx_string("text/plain; version=0.0.4; charset=utf-8");
static ngx_str_t  ngx_http_rtbus_retry_later = ngx_string("5");


ngx_int_t
ngx_http_rtbus_status_handler(ngx_http_request_t *r)
{
    ngx_str_t               body, format;
    ngx_uint_t              n;
    ngx_http_rtbus_sums_t  *sums;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_rtbus_not_allowed(r, "GET, HEAD");
    }

    if (ngx_http_rtbus_arg(r, "format", &format) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sums = ngx_http_rtbus_status_sums(r, &n);
    if (sums == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = ngx_pnalloc(r->pool, ngx_http_rtbus_status_size(n, sums));
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0) {
        body.len = ngx_http_rtbus_status_json(body.data, sums, n) - body.data;

        return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &body);
    }

    body.len = ngx_http_rtbus_status_text(body.data, sums, n) - body.data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus status of buses:%ui size:%uz", n, body.len);

    return ngx_http_rtbus_reply_text(r, &ngx_http_rtbus_text_type, &body);
}


/* the first is for all buses; if there are several, one for each follows */

static ngx_http_rtbus_sums_t *
ngx_http_rtbus_status_sums(ngx_http_request_t *r, ngx_uint_t *n)
{
    ngx_uint_t                    i;
    ngx_http_rtbus_bus_t        **bus;
    ngx_http_rtbus_sums_t        *sums, *s;
    ngx_http_rtbus_main_conf_t   *rmcf;

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    *n = (rmcf->nbuses > 1) ? rmcf->nbuses : 0;

    sums = ngx_palloc(r->pool, (*n + 1) * sizeof(ngx_http_rtbus_sums_t));
    if (sums == NULL) {
        return NULL;
    }

    sums->bus = NULL;

    ngx_rtbus_stat_sum(rmcf->stat, NULL, &sums->total);

    if (ngx_http_rtbus_status_shards(r, sums, rmcf->stat) != NGX_OK) {
        return NULL;
    }

    if (*n == 0) {
        return sums;
    }

    sums->total.failing = 0;

    s = sums;
    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {

        if (!bus[i]->used) {
            continue;
        }

        s++;
        s->bus = &bus[i]->name;

        ngx_rtbus_stat_sum(rmcf->stat, s->bus, &s->total);

        if (ngx_http_rtbus_status_shards(r, s, rmcf->stat) != NGX_OK) {
            return NULL;
        }

        sums->total.failing = ngx_max(sums->total.failing, s->total.failing);
    }

    return sums;
}


static u_char *
ngx_http_rtbus_status_text(u_char *p, ngx_http_rtbus_sums_t *sums,
    ngx_uint_t n)
{
    ngx_uint_t                 i;
    const ngx_rtbus_metric_t  *metric;

    static const char *const   types[] = {
        "counter", "gauge", "gauge", "histogram"
    };

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s %s\n", metric->name,
                        metric->help, metric->name, types[metric->type]);

        if (n == 0 || metric->process) {
            p = ngx_http_rtbus_status_text_sums(p, sums, metric);
            continue;
        }

        for (i = 1; i <= n; i++) {
            p = ngx_http_rtbus_status_text_sums(p, &sums[i], metric);
        }
    }

    if (sums->nshards) {
        p = ngx_http_rtbus_status_text_shards(p, sums, n);
    }

    return p;
}


static ngx_int_t
ngx_http_rtbus_status_shards(ngx_http_request_t *r,
    ngx_http_rtbus_sums_t *sums, ngx_rtbus_stat_zone_t *zone)
{
    sums->shards = ngx_palloc(r->pool, NGX_RTBUS_STAT_SHARDS
                                       * sizeof(ngx_rtbus_stat_shard_t));
    if (sums->shards == NULL) {
        return NGX_ERROR;
    }

    sums->nshards = ngx_rtbus_stat_shards(zone, sums->bus, sums->shards);

    return NGX_OK;
}


static u_char *
ngx_http_rtbus_status_text_shards(u_char *p, ngx_http_rtbus_sums_t *sums,
    ngx_uint_t n)
{
    ngx_uint_t  i, m;

    static struct {
        const char  *name;
        const char  *help;
    } metrics[] = {
        { "rtbus_shard_workers",
          "Worker processes with links to this server of a Redis Cluster." },
        { "rtbus_shard_up",
          "Whether all of them are connected to it." },
        { "rtbus_shard_canary_age_seconds",
          "Time since the last proof that events arrive from it." }
    };

    for (m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++) {

        p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s gauge\n", metrics[m].name,
                        metrics[m].help, metrics[m].name);

        for (i = (n ? 1 : 0); i <= n; i++) {
            p = ngx_http_rtbus_status_text_shard(p, &sums[i], metrics[m].name,
                                                 m);
        }
    }

    return p;
}


static u_char *
ngx_http_rtbus_status_text_shard(u_char *p, ngx_http_rtbus_sums_t *sums,
    const char *metric, ngx_uint_t m)
{
    size_t                   len;
    ngx_uint_t               i, k;
    ngx_rtbus_stat_shard_t  *shard;

    for (i = 0; i < sums->nshards; i++) {
        shard = &sums->shards[i];

        len = ngx_strnlen(shard->name, NGX_RTBUS_STAT_SHARD);

        for (k = 0; k < (m == 1 ? NGX_RTBUS_STAT_LINKS : 1); k++) {

            p = ngx_sprintf(p, "%s{", metric);

            if (sums->bus) {
                p = ngx_sprintf(p, "bus=\"%V\",", sums->bus);
            }

            p = ngx_sprintf(p, "shard=\"%*s\"", len, shard->name);

            switch (m) {

            case 0:
                p = ngx_sprintf(p, "} %uA\n", shard->owner);
                break;

            case 1:
                p = ngx_sprintf(p, ",link=\"%s\"} %uA\n",
                                ngx_rtbus_stat_links[k], shard->up[k]);
                break;

            default:
                p = ngx_sprintf(p, "} ");
                p = ngx_http_rtbus_status_seconds(p, shard->canary);
                *p++ = '\n';
            }
        }
    }

    return p;
}


static u_char *
ngx_http_rtbus_status_text_sums(u_char *p, ngx_http_rtbus_sums_t *sums,
    const ngx_rtbus_metric_t *metric)
{
    ngx_uint_t  i;

    if (metric->type == NGX_RTBUS_METRIC_TIMES) {
        return ngx_http_rtbus_status_text_times(p, sums, metric);
    }

    for (i = 0; i < metric->n; i++) {
        p = ngx_sprintf(p, "%s", metric->name);
        p = ngx_http_rtbus_status_labels(p, sums->bus, metric->label,
                                         metric->label ? metric->values[i]
                                                       : NULL);
        p = ngx_http_rtbus_status_value(p, &sums->total, metric, i);
        *p++ = '\n';
    }

    return p;
}


static u_char *
ngx_http_rtbus_status_text_times(u_char *p, ngx_http_rtbus_sums_t *sums,
    const ngx_rtbus_metric_t *metric)
{
    ngx_uint_t         i;
    const char        *bound;
    ngx_atomic_uint_t  count;

    count = 0;

    for (i = 0; i <= NGX_RTBUS_STAT_LAGS; i++) {
        count += ngx_rtbus_metric_value(&sums->total, metric, i);
        bound = (i < NGX_RTBUS_STAT_LAGS) ? ngx_rtbus_stat_bounds[i] : "+Inf";

        p = ngx_sprintf(p, "%s_bucket", metric->name);
        p = ngx_http_rtbus_status_labels(p, sums->bus, "le", bound);
        p = ngx_sprintf(p, "%uA\n", count);
    }

    p = ngx_sprintf(p, "%s_sum", metric->name);
    p = ngx_http_rtbus_status_labels(p, sums->bus, NULL, NULL);
    p = ngx_http_rtbus_status_seconds(p,
                                ngx_rtbus_metric_value(&sums->total, metric,
                                                       NGX_RTBUS_STAT_SUM));

    p = ngx_sprintf(p, "\n%s_count", metric->name);
    p = ngx_http_rtbus_status_labels(p, sums->bus, NULL, NULL);

    return ngx_sprintf(p, "%uA\n", count);
}


/* the labels, either of which may be NULL, and the space before the value */

static u_char *
ngx_http_rtbus_status_labels(u_char *p, ngx_str_t *bus, const char *label,
    const char *value)
{
    if (bus && label) {
        return ngx_sprintf(p, "{bus=\"%V\",%s=\"%s\"} ", bus, label, value);
    }

    if (bus) {
        return ngx_sprintf(p, "{bus=\"%V\"} ", bus);
    }

    if (label) {
        return ngx_sprintf(p, "{%s=\"%s\"} ", label, value);
    }

    *p++ = ' ';

    return p;
}


/* the sums of all; with several buses also "buses":{"<name>":<sums>,...} */

static u_char *
ngx_http_rtbus_status_json(u_char *p, ngx_http_rtbus_sums_t *sums,
    ngx_uint_t n)
{
    ngx_uint_t  i;

    p = ngx_http_rtbus_status_json_sums(p, sums);

    if (n == 0) {
        return p;
    }

    p = ngx_sprintf(p - 1, ",\"buses\":");

    for (i = 1; i <= n; i++) {
        p = ngx_sprintf(p, "%c\"%V\":", (i == 1) ? '{' : ',', sums[i].bus);
        p = ngx_http_rtbus_status_json_sums(p, &sums[i]);
    }

    return ngx_sprintf(p, "}}");
}


/* {"<name>":1,"<name>":{"<value of the label>":1,...},...} */

static u_char *
ngx_http_rtbus_status_json_sums(u_char *p, ngx_http_rtbus_sums_t *sums)
{
    ngx_uint_t                 i;
    ngx_rtbus_stat_total_t    *total;
    const ngx_rtbus_metric_t  *metric;

    total = &sums->total;

    *p++ = '{';

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        if (metric != ngx_rtbus_metrics) {
            *p++ = ',';
        }

        p = ngx_sprintf(p, "\"%s\":", metric->name);

        if (metric->type == NGX_RTBUS_METRIC_TIMES) {
            p = ngx_http_rtbus_status_json_times(p, total, metric);
            continue;
        }

        if (metric->label == NULL) {
            p = ngx_http_rtbus_status_value(p, total, metric, 0);
            continue;
        }

        for (i = 0; i < metric->n; i++) {
            p = ngx_sprintf(p, "%c\"%s\":", i ? ',' : '{', metric->values[i]);
            p = ngx_http_rtbus_status_value(p, total, metric, i);
        }

        *p++ = '}';
    }

    if (sums->nshards) {
        p = ngx_http_rtbus_status_json_shards(p, sums);
    }

    *p++ = '}';

    return p;
}


/* ,"shards":{"<name>":{"workers":1,"pubsub":1,...,"canary_age":1},...} */

static u_char *
ngx_http_rtbus_status_json_shards(u_char *p, ngx_http_rtbus_sums_t *sums)
{
    size_t                   len;
    ngx_uint_t               i, k;
    ngx_rtbus_stat_shard_t  *shard;

    p = ngx_sprintf(p, ",\"shards\":");

    for (i = 0; i < sums->nshards; i++) {
        shard = &sums->shards[i];

        len = ngx_strnlen(shard->name, NGX_RTBUS_STAT_SHARD);

        p = ngx_sprintf(p, "%c\"%*s\":{\"workers\":%uA,", i ? ',' : '{', len,
                        shard->name, shard->owner);

        for (k = 0; k < NGX_RTBUS_STAT_LINKS; k++) {
            p = ngx_sprintf(p, "\"%s\":%uA,", ngx_rtbus_stat_links[k],
                            shard->up[k]);
        }

        p = ngx_sprintf(p, "\"canary_age\":");
        p = ngx_http_rtbus_status_seconds(p, shard->canary);
        *p++ = '}';
    }

    *p++ = '}';

    return p;
}


/* {"buckets":{"<bound>":1,...,"+Inf":2},"sum":0.123,"count":2} */

static u_char *
ngx_http_rtbus_status_json_times(u_char *p, ngx_rtbus_stat_total_t *total,
    const ngx_rtbus_metric_t *metric)
{
    ngx_uint_t         i;
    ngx_atomic_uint_t  count;

    count = 0;

    p = ngx_sprintf(p, "{\"buckets\":{");

    for (i = 0; i < NGX_RTBUS_STAT_LAGS; i++) {
        count += ngx_rtbus_metric_value(total, metric, i);

        p = ngx_sprintf(p, "\"%s\":%uA,", ngx_rtbus_stat_bounds[i], count);
    }

    count += ngx_rtbus_metric_value(total, metric, i);

    p = ngx_sprintf(p, "\"+Inf\":%uA},\"sum\":", count);
    p = ngx_http_rtbus_status_seconds(p,
                                ngx_rtbus_metric_value(total, metric,
                                                       NGX_RTBUS_STAT_SUM));

    return ngx_sprintf(p, ",\"count\":%uA}", count);
}


static u_char *
ngx_http_rtbus_status_value(u_char *p, ngx_rtbus_stat_total_t *total,
    const ngx_rtbus_metric_t *metric, ngx_uint_t i)
{
    ngx_atomic_uint_t  value;

    value = ngx_rtbus_metric_value(total, metric, i);

    if (metric->type == NGX_RTBUS_METRIC_SECONDS) {
        return ngx_http_rtbus_status_seconds(p, value);
    }

    return ngx_sprintf(p, "%uA", value);
}


static u_char *
ngx_http_rtbus_status_seconds(u_char *p, ngx_atomic_uint_t ms)
{
    return ngx_sprintf(p, "%uA.%03uA", ms / 1000, ms % 1000);
}


/*
 * The bytes that the text takes at most with n buses.  The JSON is shorter,
 * though it has the sums of all buses, too.
 */

static size_t
ngx_http_rtbus_status_size(ngx_uint_t n, ngx_http_rtbus_sums_t *sums)
{
    size_t                     len, name, head;
    ngx_uint_t                 i;
    const ngx_rtbus_metric_t  *metric;

    len = 0;
    head = 0;

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        name = ngx_strlen(metric->name);

        head += sizeof("# HELP  \n# TYPE  histogram\n") + 2 * name
                + ngx_strlen(metric->help);

        if (metric->type == NGX_RTBUS_METRIC_TIMES) {
            i = NGX_RTBUS_STAT_LAGS + 3;
            len += i * (name + sizeof("_bucket{le=\"0.0025\"} \n")
                        + NGX_HTTP_RTBUS_NUMBER);

            if (n) {
                len += i * (sizeof("bus=\"\",") + NGX_RTBUS_STAT_NAME);
            }

            continue;
        }

        for (i = 0; i < metric->n; i++) {
            len += name + sizeof("{=\"\"} \n") + NGX_HTTP_RTBUS_NUMBER;

            if (metric->label) {
                len += ngx_strlen(metric->label)
                       + ngx_strlen(metric->values[i]);
            }

            if (n) {
                len += sizeof("bus=\"\",") + NGX_RTBUS_STAT_NAME;
            }
        }
    }

    for (i = 0; i <= n; i++) {

        if (sums[i].nshards) {

            /* four lines each, and the comments before them */

            head += NGX_HTTP_RTBUS_SHARDS
                    + sums[i].nshards * 4 * NGX_HTTP_RTBUS_SHARD;
        }
    }

    return head + (n + 1) * len;
}


/*
 * The health of all buses, or of the one that is asked for:
 *
 *   {"status":"ok","workers":2,"failing":0,"canaryAge":1.234}
 *
 *   {"status":"unavailable","bus":"b","reason":"...","workers":2,...,
 *    "buses":{"a":{"status":"ok",...},"b":{"status":"unavailable",...}}}
 */

ngx_int_t
ngx_http_rtbus_health_handler(ngx_http_request_t *r)
{
    u_char                      *p;
    ngx_str_t                    json, name;
    ngx_uint_t                   i, n;
    ngx_http_rtbus_bus_t        *bus;
    ngx_http_rtbus_sums_t       *sums;
    ngx_http_rtbus_main_conf_t  *rmcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_rtbus_not_allowed(r, "GET, HEAD");
    }

    if (ngx_http_rtbus_arg(r, "bus", &name) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    sums = ngx_http_rtbus_status_sums(r, &n);
    if (sums == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (name.len) {
        bus = ngx_http_rtbus_health_bus(rmcf, &name);

        if (bus == NULL) {
            return ngx_http_rtbus_error(r, NGX_HTTP_NOT_FOUND,
                                        NGX_RTBUS_REASON_NO_BUS, "bus", &name);
        }

        ngx_rtbus_stat_sum(rmcf->stat, &bus->name, &sums->total);
        n = 0;
    }

    if (n) {
        sums->total.reason = NULL;

        for (i = n; i > 0; i--) {
            if (sums[i].total.reason) {
                sums->bus = sums[i].bus;
                sums->total.reason = sums[i].total.reason;
            }
        }
    }

    p = ngx_pnalloc(r->pool, (n + 1) * NGX_HTTP_RTBUS_HEALTH);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;

    p = ngx_http_rtbus_health_json(p, sums->bus, &sums->total);

    for (i = 1; i <= n; i++) {
        p = ngx_sprintf(p, "%s\"%V\":", (i == 1) ? ",\"buses\":{" : ",",
                        sums[i].bus);
        p = ngx_http_rtbus_health_json(p, NULL, &sums[i].total);
        *p++ = '}';
    }

    if (n) {
        *p++ = '}';
    }

    *p++ = '}';

    json.len = p - json.data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus health of bus \"%V\", %s", &name,
                   sums->total.reason ? sums->total.reason : "ok");

    if (sums->total.reason == NULL) {
        return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &json);
    }

    if (ngx_http_rtbus_header(r, "Retry-After", &ngx_http_rtbus_retry_later)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_reply(r, NGX_HTTP_SERVICE_UNAVAILABLE, &json);
}


static ngx_http_rtbus_bus_t *
ngx_http_rtbus_health_bus(ngx_http_rtbus_main_conf_t *rmcf, ngx_str_t *name)
{
    ngx_uint_t              i;
    ngx_http_rtbus_bus_t  **bus;

    bus = rmcf->buses.elts;

    for (i = 0; i < rmcf->buses.nelts; i++) {
        if (bus[i]->used && ngx_http_rtbus_str_eq(&bus[i]->name, name)) {
            return bus[i];
        }
    }

    return NULL;
}


/* without the brace at the end; bus: the one that has the reason, or NULL */

static u_char *
ngx_http_rtbus_health_json(u_char *p, ngx_str_t *bus,
    ngx_rtbus_stat_total_t *total)
{
    p = ngx_sprintf(p, "{\"status\":\"%s\"",
                    total->reason ? "unavailable" : "ok");

    if (bus) {
        p = ngx_sprintf(p, ",\"bus\":\"%V\"", bus);
    }

    if (total->reason) {
        p = ngx_sprintf(p, ",\"reason\":\"%s\"", total->reason);
    }

    p = ngx_sprintf(p, ",\"workers\":%uA,\"failing\":%uA,\"canaryAge\":",
                    total->workers, total->failing);

    return ngx_http_rtbus_status_seconds(p, total->age);
}


char *
ngx_http_rtbus_conf_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_status_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_rtbus_conf_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return (ngx_http_rtbus_handler_set(cf, ngx_http_rtbus_health_handler)
            == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}
