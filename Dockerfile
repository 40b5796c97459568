# nginx with the module, as an ordinary user, on port 8080.
#
#     docker build -t rtbus .
#     docker run --network <that of Redis> -p 8080:8080 rtbus
#
# It runs conf/demo.conf, changed to listen to the outside and to find Redis
# under the name "redis".  A configuration of your own goes to
# /etc/nginx/nginx.conf.

ARG BASE=debian:bookworm-slim


FROM $BASE AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev libhiredis-dev libjwt-dev libssl-dev libyajl-dev make nginx-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY . .

RUN make build

RUN sed -e '1i daemon off;\npid /tmp/nginx.pid;\nerror_log stderr notice;' \
        -e 's|^load_module .*|load_module modules/ngx_http_rtbus_module.so;|' \
        -e 's|^http {|&\n    access_log /dev/stdout;\n    rtbus_drain 5s;\n|' \
        -e 's|redis://127\.0\.0\.1:|redis://redis:|' \
        -e 's|listen 127\.0\.0\.1:|listen |' \
        -e 's|root demo;|root /srv/rtbus;|' \
        conf/demo.conf > build/nginx.conf


FROM $BASE

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libhiredis0.14 libjwt0 libyajl2 nginx-light \
    && rm -rf /var/lib/apt/lists/* \
    && ln -sf /dev/stderr /var/log/nginx/error.log \
    && ln -sf /dev/stdout /var/log/nginx/access.log \
    && chown -R www-data:www-data /var/lib/nginx

COPY --from=build /src/build/ngx_http_rtbus_module.so /usr/lib/nginx/modules/
COPY --from=build /src/build/nginx.conf /etc/nginx/nginx.conf
COPY demo/index.html /srv/rtbus/

# www-data, by number for those who check that it is not root

USER 33:33

EXPOSE 8080

# the workers say goodbye to their clients, within 5 s (rtbus_drain)

STOPSIGNAL SIGQUIT

CMD ["nginx"]
