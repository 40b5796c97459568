
/*
 * What the workers have counted, in the text format of Prometheus (version
 * 0.0.4) or as JSON, and whether they are well.
 */


#include "ngx_http_rtbus_module.h"
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_reply.h"


/* a seconds' value: whole ones, a dot, three digits */
#define NGX_HTTP_RTBUS_NUMBER  (NGX_INT64_LEN + 4)


static u_char *ngx_http_rtbus_status_text(u_char *p,
    ngx_rtbus_stat_total_t *total);
static u_char *ngx_http_rtbus_status_text_lag(u_char *p,
    ngx_rtbus_stat_total_t *total, const ngx_rtbus_metric_t *metric);
static u_char *ngx_http_rtbus_status_json(u_char *p,
    ngx_rtbus_stat_total_t *total);
static u_char *ngx_http_rtbus_status_json_lag(u_char *p,
    ngx_rtbus_stat_total_t *total, const ngx_rtbus_metric_t *metric);
static u_char *ngx_http_rtbus_status_value(u_char *p,
    ngx_rtbus_stat_total_t *total, const ngx_rtbus_metric_t *metric,
    ngx_uint_t i);
static u_char *ngx_http_rtbus_status_seconds(u_char *p, ngx_atomic_uint_t ms);
static size_t ngx_http_rtbus_status_size(void);


static ngx_str_t  ngx_http_rtbus_text_type =
    ngx_string("text/plain; version=0.0.4; charset=utf-8");
static ngx_str_t  ngx_http_rtbus_retry_later = ngx_string("5");


ngx_int_t
ngx_http_rtbus_status_handler(ngx_http_request_t *r)
{
    ngx_str_t                    body, format;
    ngx_rtbus_stat_total_t      *total;
    ngx_http_rtbus_main_conf_t  *rmcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_rtbus_not_allowed(r, "GET, HEAD");
    }

    if (ngx_http_rtbus_arg(r, "format", &format) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    total = ngx_palloc(r->pool, sizeof(ngx_rtbus_stat_total_t));
    body.data = ngx_pnalloc(r->pool, ngx_http_rtbus_status_size());

    if (total == NULL || body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_rtbus_stat_sum(rmcf->stat, total);

    if (format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0) {
        body.len = ngx_http_rtbus_status_json(body.data, total) - body.data;

        return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &body);
    }

    body.len = ngx_http_rtbus_status_text(body.data, total) - body.data;

    return ngx_http_rtbus_reply_text(r, &ngx_http_rtbus_text_type, &body);
}


static u_char *
ngx_http_rtbus_status_text(u_char *p, ngx_rtbus_stat_total_t *total)
{
    ngx_uint_t                 i;
    const ngx_rtbus_metric_t  *metric;

    static const char *const   types[] = {
        "counter", "gauge", "gauge", "histogram"
    };

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s %s\n", metric->name,
                        metric->help, metric->name, types[metric->type]);

        if (metric->type == NGX_RTBUS_METRIC_LAG) {
            p = ngx_http_rtbus_status_text_lag(p, total, metric);
            continue;
        }

        for (i = 0; i < metric->n; i++) {
            p = ngx_sprintf(p, "%s", metric->name);

            if (metric->label) {
                p = ngx_sprintf(p, "{%s=\"%s\"}", metric->label,
                                metric->values[i]);
            }

            *p++ = ' ';
            p = ngx_http_rtbus_status_value(p, total, metric, i);
            *p++ = '\n';
        }
    }

    return p;
}


static u_char *
ngx_http_rtbus_status_text_lag(u_char *p, ngx_rtbus_stat_total_t *total,
    const ngx_rtbus_metric_t *metric)
{
    ngx_uint_t         i;
    ngx_atomic_uint_t  count;

    count = 0;

    for (i = 0; i < NGX_RTBUS_STAT_LAGS; i++) {
        count += ngx_rtbus_metric_value(total, metric, i);

        p = ngx_sprintf(p, "%s_bucket{le=\"%s\"} %uA\n", metric->name,
                        ngx_rtbus_stat_bounds[i], count);
    }

    count += ngx_rtbus_metric_value(total, metric, i);

    p = ngx_sprintf(p, "%s_bucket{le=\"+Inf\"} %uA\n%s_sum ", metric->name,
                    count, metric->name);
    p = ngx_http_rtbus_status_seconds(p, total->sum.lag_sum);

    return ngx_sprintf(p, "\n%s_count %uA\n", metric->name, count);
}


/* {"<name>":1,"<name>":{"<value of the label>":1,...},...} */

static u_char *
ngx_http_rtbus_status_json(u_char *p, ngx_rtbus_stat_total_t *total)
{
    ngx_uint_t                 i;
    const ngx_rtbus_metric_t  *metric;

    *p++ = '{';

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        if (metric != ngx_rtbus_metrics) {
            *p++ = ',';
        }

        p = ngx_sprintf(p, "\"%s\":", metric->name);

        if (metric->type == NGX_RTBUS_METRIC_LAG) {
            p = ngx_http_rtbus_status_json_lag(p, total, metric);
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

    *p++ = '}';

    return p;
}


/* {"buckets":{"<bound>":1,...,"+Inf":2},"sum":0.123,"count":2} */

static u_char *
ngx_http_rtbus_status_json_lag(u_char *p, ngx_rtbus_stat_total_t *total,
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
    p = ngx_http_rtbus_status_seconds(p, total->sum.lag_sum);

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


/* what the text takes at most, and the JSON is shorter */

static size_t
ngx_http_rtbus_status_size(void)
{
    size_t                     len, name;
    ngx_uint_t                 i, n;
    const ngx_rtbus_metric_t  *metric;

    len = 0;

    for (metric = ngx_rtbus_metrics; metric->name; metric++) {

        name = ngx_strlen(metric->name);

        len += sizeof("# HELP  \n# TYPE  histogram\n") + 2 * name
               + ngx_strlen(metric->help);

        if (metric->type == NGX_RTBUS_METRIC_LAG) {
            n = NGX_RTBUS_STAT_LAGS + 3;
            len += n * (name + sizeof("_bucket{le=\"0.0025\"} \n")
                        + NGX_HTTP_RTBUS_NUMBER);
            continue;
        }

        for (i = 0; i < metric->n; i++) {
            len += name + sizeof(" \n") + NGX_HTTP_RTBUS_NUMBER;

            if (metric->label) {
                len += sizeof("{=\"\"}") + ngx_strlen(metric->label)
                       + ngx_strlen(metric->values[i]);
            }
        }
    }

    return len;
}


ngx_int_t
ngx_http_rtbus_health_handler(ngx_http_request_t *r)
{
    u_char                      *p;
    size_t                       len;
    ngx_str_t                    json;
    ngx_rtbus_stat_total_t       total;
    ngx_http_rtbus_main_conf_t  *rmcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_rtbus_not_allowed(r, "GET, HEAD");
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_rtbus_module);

    ngx_rtbus_stat_sum(rmcf->stat, &total);

    len = sizeof("{\"status\":\"unavailable\",\"reason\":\"\",\"workers\":,"
                 "\"failing\":,\"canaryAge\":}") - 1
          + (total.reason ? ngx_strlen(total.reason) : 0)
          + 3 * NGX_HTTP_RTBUS_NUMBER;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json.data = p;

    if (total.reason) {
        p = ngx_sprintf(p, "{\"status\":\"unavailable\",\"reason\":\"%s\"",
                        total.reason);
    } else {
        p = ngx_sprintf(p, "{\"status\":\"ok\"");
    }

    p = ngx_sprintf(p, ",\"workers\":%uA,\"failing\":%uA,\"canaryAge\":",
                    total.workers, total.failing);
    p = ngx_http_rtbus_status_seconds(p, total.age);
    *p++ = '}';

    json.len = p - json.data;

    if (total.reason == NULL) {
        return ngx_http_rtbus_reply(r, NGX_HTTP_OK, &json);
    }

    if (ngx_http_rtbus_header(r, "Retry-After", &ngx_http_rtbus_retry_later)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_rtbus_reply(r, NGX_HTTP_SERVICE_UNAVAILABLE, &json);
}
