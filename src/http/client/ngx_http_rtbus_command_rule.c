
#include "ngx_http_rtbus_command_rule.h"


/* what the function takes for maxlen, see conf/rtbus.lua */
#define NGX_HTTP_RTBUS_STREAM_MAXLEN  1000000000


static ngx_uint_t ngx_http_rtbus_command_stream(ngx_str_t *name);


const ngx_http_rtbus_command_rule_t *
ngx_http_rtbus_command_rule(ngx_array_t *rules, ngx_str_t *name,
    ngx_uint_t exact)
{
    ngx_uint_t                      i;
    ngx_http_rtbus_command_rule_t  *rule;

    if (rules == NULL) {
        return NULL;
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {

        if (rule[i].prefix ? exact || rule[i].name.len > name->len
                           : rule[i].name.len != name->len)
        {
            continue;
        }

        if (ngx_memcmp(name->data, rule[i].name.data, rule[i].name.len) == 0) {
            return &rule[i];
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_rtbus_command_wanted(ngx_array_t *rules, const char *name)
{
    ngx_str_t  s;

    s.len = ngx_strlen(name);
    s.data = (u_char *) name;

    return ngx_http_rtbus_command_rule(rules, &s, 1) != NULL;
}


char *
ngx_http_rtbus_conf_command(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    u_char                         *p, *last;
    ngx_str_t                      *value, s;
    ngx_int_t                       n;
    ngx_uint_t                      i;
    ngx_http_rtbus_command_rule_t  *rule;

    if (rlcf->commands == NGX_CONF_UNSET_PTR) {
        rlcf->commands = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_rtbus_command_rule_t));
        if (rlcf->commands == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(rlcf->commands);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(ngx_http_rtbus_command_rule_t));

    value = cf->args->elts;

    ngx_str_set(&rule->stream, "rtbus:commands");
    rule->name = value[1];

    if (rule->name.len && rule->name.data[rule->name.len - 1] == '*') {
        rule->prefix = 1;
        rule->name.len--;
    }

    if ((rule->name.len == 0 && !rule->prefix)
        || rule->name.len > RTBUS_EVENT_NAME_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid event name \"%V\", it must have 1 to %d "
                           "bytes", &value[1], RTBUS_EVENT_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    last = rule->name.data + rule->name.len;

    for (p = rule->name.data; p < last; p++) {
        if (*p < ' ' || *p == 0x7f || *p == '*') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in event name \"%V\", a "
                               "\"*\" may be at its end only", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "stream=", 7) == 0) {
            rule->stream.data = value[i].data + 7;
            rule->stream.len = value[i].len - 7;

        } else if (ngx_strncmp(value[i].data, "maxlen=", 7) == 0) {
            n = ngx_atoi(value[i].data + 7, value[i].len - 7);

            if (n < 1 || n > NGX_HTTP_RTBUS_STREAM_MAXLEN) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid number in \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            rule->maxlen = n;

        } else if (ngx_strncmp(value[i].data, "job=", 4) == 0
                   && value[i].len > 4)
        {
            rule->job.data = value[i].data + 4;
            rule->job.len = value[i].len - 4;

        } else if (ngx_strncmp(value[i].data, "reply=", 6) == 0) {
            s.data = value[i].data + 6;
            s.len = value[i].len - 6;

            rule->reply = ngx_parse_time(&s, 0);

            if (rule->reply == (ngx_msec_t) NGX_ERROR || rule->reply == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid time in \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

        } else if (ngx_strcmp(value[i].data, "owner") == 0) {
            rule->owner = 1;

        } else if (ngx_strcmp(value[i].data, "claim") == 0) {
            rule->claim = 1;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (rule->owner && rule->claim) {
        return "takes either \"owner\" or \"claim\"";
    }

    if ((rule->owner || rule->claim) && rule->job.len == 0) {
        return "needs \"job=\" with \"owner\" or \"claim\"";
    }

    if (rule->name.len && rule->name.data[0] == '@') {

        if (rule->prefix
            || (ngx_strcmp(value[1].data, "@connect") != 0
                && ngx_strcmp(value[1].data, "@disconnect") != 0))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "there is no event \"%V\", only \"@connect\" "
                               "and \"@disconnect\"", &value[1]);
            return NGX_CONF_ERROR;
        }

        if (rule->job.len || rule->reply) {
            return "takes only \"stream=\" and \"maxlen=\" for events that no "
                   "client sends";
        }
    }

    if (!ngx_http_rtbus_command_stream(&rule->stream)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid stream \"%V\"",
                           &rule->stream);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * Is it the name of a stream: 1 or 0.  The function puts the ids of commands
 * into the stream's slot, so braces have to make a hash tag.
 */

static ngx_uint_t
ngx_http_rtbus_command_stream(ngx_str_t *name)
{
    u_char  *p, *last, *open, *close;

    if (name->len == 0 || name->len > NGX_HTTP_RTBUS_STREAM_MAX) {
        return 0;
    }

    last = name->data + name->len;

    for (p = name->data; p < last; p++) {
        if (*p <= ' ' || *p > '~') {
            return 0;
        }
    }

    open = ngx_strlchr(name->data, last, '{');
    close = open ? ngx_strlchr(open, last, '}') : NULL;

    return ngx_strlchr(name->data, last, '}') == NULL
           || (close && close != open + 1);
}
