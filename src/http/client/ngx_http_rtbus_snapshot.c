
#include "ngx_http_rtbus_snapshot.h"


/* one member of the answer */

typedef struct {
    ngx_str_t                 name;
    ngx_str_t                 value;
    ngx_uint_t                quote;      /* unsigned  quote:1; */
} ngx_http_rtbus_snapshot_member_t;


static ngx_uint_t ngx_http_rtbus_snapshot_wanted(ngx_str_t *only,
    ngx_str_t *name);
static void ngx_http_rtbus_snapshot_value(rtbus_json_t *json,
    ngx_http_rtbus_type_e type, ngx_http_rtbus_snapshot_member_t *member);
static ngx_int_t ngx_http_rtbus_snapshot_write(ngx_pool_t *pool,
    ngx_http_rtbus_snapshot_member_t *member, ngx_uint_t n, ngx_str_t *text);


static ngx_http_rtbus_field_t  ngx_http_rtbus_default_fields[] = {
    { ngx_string("jobId"), NGX_HTTP_RTBUS_STR },
    { ngx_string("userId"), NGX_HTTP_RTBUS_STR },
    { ngx_string("status"), NGX_HTTP_RTBUS_STR },
    { ngx_string("progress"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("lastSequence"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("result"), NGX_HTTP_RTBUS_JSON },
    { ngx_string("error"), NGX_HTTP_RTBUS_STR },
    { ngx_string("createdAt"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("updatedAt"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("completedAt"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("failedAt"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("usage"), NGX_HTTP_RTBUS_JSON },
    { ngx_string("startedAt"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("events"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("outputLost"), NGX_HTTP_RTBUS_NUM }
};


static ngx_conf_enum_t  ngx_http_rtbus_snapshot_types[] = {
    { ngx_string("str"), NGX_HTTP_RTBUS_STR },
    { ngx_string("num"), NGX_HTTP_RTBUS_NUM },
    { ngx_string("json"), NGX_HTTP_RTBUS_JSON },
    { ngx_string("bool"), NGX_HTTP_RTBUS_BOOL },
    { ngx_null_string, 0 }
};


static ngx_str_t  ngx_http_rtbus_output = ngx_string("output");
static ngx_str_t  ngx_http_rtbus_position = ngx_string("position");
static ngx_str_t  ngx_http_rtbus_sequence = ngx_string("lastSequence");
static ngx_str_t  ngx_http_rtbus_seq = ngx_string("seq");
static ngx_str_t  ngx_http_rtbus_user_id = ngx_string("userId");


ngx_int_t
ngx_http_rtbus_snapshot_read(ngx_pool_t *pool, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot)
{
    redisReply  *fields, *output, *pos;

    ngx_memzero(snapshot, sizeof(ngx_http_rtbus_snapshot_t));

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
        return NGX_DECLINED;
    }

    fields = reply->element[0];
    output = reply->element[1];
    pos = reply->element[2];

    if (output->type != REDIS_REPLY_STRING || pos->type != REDIS_REPLY_STRING
        || rtbus_pos_parse(&snapshot->pos, (u_char *) pos->str, pos->len)
           != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    if (output->len) {
        snapshot->output.data = (u_char *) output->str;
        snapshot->output.len = output->len;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, pool->log, 0,
                   "rtbus snapshot position:%uL-%uL output:%uz",
                   snapshot->pos.epoch, snapshot->pos.seq,
                   snapshot->output.len);

    return ngx_http_rtbus_snapshot_pairs(pool, fields, snapshot);
}


/* names and values in turn, as HGETALL has them */

ngx_int_t
ngx_http_rtbus_snapshot_pairs(ngx_pool_t *pool, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot)
{
    ngx_uint_t     i;
    redisReply   **element;
    ngx_keyval_t  *field;

    if (reply->type != REDIS_REPLY_ARRAY) {
        return NGX_DECLINED;
    }

    snapshot->nfields = reply->elements / 2;

    field = ngx_palloc(pool, (snapshot->nfields + 1) * sizeof(ngx_keyval_t));
    if (field == NULL) {
        return NGX_ERROR;
    }

    snapshot->fields = field;
    ngx_str_null(&snapshot->user);
    element = reply->element;

    for (i = 0; i < 2 * snapshot->nfields; i++) {
        if (element[i]->type != REDIS_REPLY_STRING) {
            return NGX_DECLINED;
        }
    }

    for (i = 0; i < snapshot->nfields; i++) {
        field[i].key.data = (u_char *) element[2 * i]->str;
        field[i].key.len = element[2 * i]->len;
        field[i].value.data = (u_char *) element[2 * i + 1]->str;
        field[i].value.len = element[2 * i + 1]->len;

        if (ngx_http_rtbus_str_eq(&field[i].key, &ngx_http_rtbus_user_id)) {
            snapshot->user = field[i].value;
        }
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_rtbus_snapshot_wrong(redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR
           && ngx_strncmp(reply->str, "WRONGTYPE", 9) == 0;
}


ngx_int_t
ngx_http_rtbus_snapshot_object(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, redisReply *reply,
    ngx_http_rtbus_snapshot_t *snapshot)
{
    ngx_uint_t               i, n;
    rtbus_reason_e           reason;
    ngx_keyval_t            *kv;
    rtbus_json_value_t      *user;
    rtbus_json_member_t     *member;
    ngx_http_rtbus_field_t  *field;

    if (reply->type != REDIS_REPLY_STRING) {
        return NGX_DECLINED;
    }

    field = declared->elts;
    n = declared->nelts;

    member = ngx_pcalloc(pool, (n + 2) * sizeof(rtbus_json_member_t));
    if (member == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        member[i].name = (const char *) field[i].name.data;
        member[i].len = field[i].name.len;
    }

    member[n].name = (const char *) ngx_http_rtbus_seq.data;
    member[n++].len = ngx_http_rtbus_seq.len;

    /* declared or not: whose it is */

    member[n].name = (const char *) ngx_http_rtbus_user_id.data;
    member[n].len = ngx_http_rtbus_user_id.len;
    user = &member[n].value;

    if (rtbus_json_object(json, (const uint8_t *) reply->str, reply->len,
                          member, n + 1, &reason)
        != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    kv = ngx_palloc(pool, n * sizeof(ngx_keyval_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    snapshot->fields = kv;
    snapshot->raw = 1;
    ngx_str_null(&snapshot->user);

    for (i = 0; i < n; i++) {

        if (member[i].value.type == RTBUS_JSON_NONE) {
            continue;
        }

        kv->key.data = (u_char *) member[i].name;
        kv->key.len = member[i].len;
        kv->value.data = member[i].value.raw.data;
        kv->value.len = member[i].value.raw.len;
        kv++;
    }

    snapshot->nfields = kv - snapshot->fields;

    if (user->type == RTBUS_JSON_NUMBER) {
        snapshot->user.data = user->raw.data;
        snapshot->user.len = user->raw.len;

    } else if (user->type == RTBUS_JSON_STRING) {
        snapshot->user.data = ngx_pnalloc(pool, user->raw.len);
        if (snapshot->user.data == NULL) {
            return NGX_ERROR;
        }

        snapshot->user.len = rtbus_json_unquote(snapshot->user.data,
                                                &user->raw);
    }

    return NGX_OK;
}


ngx_str_t *
ngx_http_rtbus_snapshot_find(ngx_http_rtbus_snapshot_t *snapshot,
    ngx_str_t *name)
{
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    kv = snapshot->fields;

    for (i = 0; i < snapshot->nfields; i++) {
        if (ngx_http_rtbus_str_eq(&kv[i].key, name)) {
            return &kv[i].value;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_rtbus_snapshot_owned(ngx_http_rtbus_snapshot_t *snapshot,
    ngx_str_t *user)
{
    return user->len && ngx_http_rtbus_str_eq(&snapshot->user, user);
}


ngx_int_t
ngx_http_rtbus_snapshot_json(ngx_pool_t *pool, rtbus_json_t *json,
    ngx_array_t *declared, ngx_http_rtbus_snapshot_t *snapshot, ngx_str_t *only,
    ngx_str_t *text)
{
    u_char                   *p;
    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_rtbus_field_t   *field;
    ngx_http_rtbus_snapshot_member_t  *members, *member;

    members = ngx_palloc(pool, (declared->nelts + 2)
                               * sizeof(ngx_http_rtbus_snapshot_member_t));
    if (members == NULL) {
        return NGX_ERROR;
    }

    member = members;
    field = declared->elts;

    for (i = 0; i < declared->nelts; i++) {

        if (!ngx_http_rtbus_snapshot_wanted(only, &field[i].name)) {
            continue;
        }

        value = ngx_http_rtbus_snapshot_find(snapshot, &field[i].name);

        if (value == NULL
            && ngx_http_rtbus_str_eq(&field[i].name, &ngx_http_rtbus_sequence))
        {
            value = ngx_http_rtbus_snapshot_find(snapshot, &ngx_http_rtbus_seq);
        }

        if (value == NULL) {
            continue;
        }

        member->name = field[i].name;
        member->value = *value;
        member->quote = 0;

        if (!snapshot->raw) {
            ngx_http_rtbus_snapshot_value(json, field[i].type, member);
        }

        member++;
    }

    if (snapshot->output.data
        && ngx_http_rtbus_snapshot_wanted(only, &ngx_http_rtbus_output))
    {
        member->name = ngx_http_rtbus_output;
        member->value = snapshot->output;
        member->quote = 1;
        member++;
    }

    if (ngx_http_rtbus_snapshot_wanted(only, &ngx_http_rtbus_position)) {
        p = ngx_pnalloc(pool, RTBUS_POSITION_MAX);
        if (p == NULL) {
            return NGX_ERROR;
        }

        member->name = ngx_http_rtbus_position;
        member->value.data = p;
        member->value.len = rtbus_pos_write(p, snapshot->pos);
        member->quote = 1;
        member++;
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, pool->log, 0,
                   "rtbus snapshot fields:%ui declared:%ui members:%i",
                   snapshot->nfields, declared->nelts,
                   (ngx_int_t) (member - members));

    return ngx_http_rtbus_snapshot_write(pool, members, member - members, text);
}


static ngx_uint_t
ngx_http_rtbus_snapshot_wanted(ngx_str_t *only, ngx_str_t *name)
{
    u_char  *p, *last, *end;

    if (only == NULL) {
        return 1;
    }

    p = only->data;
    last = only->data + only->len;

    while (p < last) {

        end = ngx_strlchr(p, last, ',');
        if (end == NULL) {
            end = last;
        }

        if (ngx_memn2cmp(p, name->data, end - p, name->len) == 0) {
            return 1;
        }

        p = end + 1;
    }

    return 0;
}


/* a value that is not what it was declared to be goes out as a string */

static void
ngx_http_rtbus_snapshot_value(rtbus_json_t *json, ngx_http_rtbus_type_e type,
    ngx_http_rtbus_snapshot_member_t *member)
{
    ngx_int_t            rc;
    ngx_str_t           *value;
    rtbus_reason_e       reason;
    rtbus_json_value_t   jv;

    value = &member->value;
    member->quote = 1;

    switch (type) {

    case NGX_HTTP_RTBUS_NUM:
    case NGX_HTTP_RTBUS_JSON:
        rc = rtbus_json_value(json, value->data, value->len, &jv, &reason);

        if (rc == RTBUS_OK
            && (type == NGX_HTTP_RTBUS_JSON || jv.type == RTBUS_JSON_NUMBER))
        {
            value->data = jv.raw.data;
            value->len = jv.raw.len;
            member->quote = 0;
        }

        break;

    case NGX_HTTP_RTBUS_BOOL:
        if ((value->len == 4 && ngx_strncmp(value->data, "true", 4) == 0)
            || (value->len == 1 && value->data[0] == '1'))
        {
            ngx_str_set(value, "true");
            member->quote = 0;

        } else if ((value->len == 5
                    && ngx_strncmp(value->data, "false", 5) == 0)
                   || (value->len == 1 && value->data[0] == '0'))
        {
            ngx_str_set(value, "false");
            member->quote = 0;
        }

        break;

    default: /* NGX_HTTP_RTBUS_STR */
        break;
    }
}


static ngx_int_t
ngx_http_rtbus_snapshot_write(ngx_pool_t *pool,
    ngx_http_rtbus_snapshot_member_t *member, ngx_uint_t n, ngx_str_t *text)
{
    u_char      *p;
    size_t       len;
    ngx_str_t   *name, *value;
    ngx_uint_t   i;

    len = sizeof("{}") - 1;

    for (i = 0; i < n; i++) {
        name = &member[i].name;
        value = &member[i].value;

        len += rtbus_json_quote(NULL, name->data, name->len)
               + (member[i].quote
                  ? rtbus_json_quote(NULL, value->data, value->len)
                  : value->len)
               + sizeof(":,") - 1;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;

    *p++ = '{';

    for (i = 0; i < n; i++) {
        name = &member[i].name;
        value = &member[i].value;

        if (i) {
            *p++ = ',';
        }

        p += rtbus_json_quote(p, name->data, name->len);

        *p++ = ':';

        if (member[i].quote) {
            p += rtbus_json_quote(p, value->data, value->len);

        } else {
            p = ngx_cpymem(p, value->data, value->len);
        }
    }

    *p++ = '}';

    text->len = p - text->data;

    return NGX_OK;
}


ngx_array_t *
ngx_http_rtbus_snapshot_default_fields(ngx_conf_t *cf)
{
    ngx_uint_t    n;
    ngx_array_t  *fields;

    n = sizeof(ngx_http_rtbus_default_fields) / sizeof(ngx_http_rtbus_field_t);

    fields = ngx_array_create(cf->pool, n, sizeof(ngx_http_rtbus_field_t));
    if (fields == NULL) {
        return NULL;
    }

    ngx_memcpy(ngx_array_push_n(fields, n), ngx_http_rtbus_default_fields,
               sizeof(ngx_http_rtbus_default_fields));

    return fields;
}


char *
ngx_http_rtbus_conf_state_fields(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    u_char                  *p;
    ngx_str_t               *value, name, type;
    ngx_uint_t               i, n;
    ngx_conf_enum_t         *e;
    ngx_http_rtbus_field_t  *field;

    if (rlcf->fields != NULL && rlcf->fields != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rlcf->fields = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                    sizeof(ngx_http_rtbus_field_t));
    if (rlcf->fields == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        name = value[i];
        ngx_str_set(&type, "str");

        p = ngx_strlchr(name.data, name.data + name.len, ':');

        if (p) {
            type.data = p + 1;
            type.len = name.data + name.len - type.data;
            name.len = p - name.data;
        }

        if (name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "empty field name in \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        for (e = ngx_http_rtbus_snapshot_types; e->name.len; e++) {
            if (ngx_http_rtbus_str_eq(&e->name, &type)) {
                break;
            }
        }

        if (e->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid type in \"%V\", it must be \"num\", "
                               "\"json\", \"str\" or \"bool\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_rtbus_str_eq(&name, &ngx_http_rtbus_output)
            || ngx_http_rtbus_str_eq(&name, &ngx_http_rtbus_position))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "field \"%V\" must not be declared, the module "
                               "gives it itself", &name);
            return NGX_CONF_ERROR;
        }

        field = rlcf->fields->elts;

        for (n = 0; n < rlcf->fields->nelts; n++) {
            if (ngx_http_rtbus_str_eq(&field[n].name, &name)) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate field \"%V\"", &name);
                return NGX_CONF_ERROR;
            }
        }

        field = ngx_array_push(rlcf->fields);
        if (field == NULL) {
            return NGX_CONF_ERROR;
        }

        field->name = name;
        field->type = e->value;
    }

    return NGX_CONF_OK;
}
