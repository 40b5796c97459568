# nginx with the module, as an ordinary user, on port 8080.
#
#     docker build -t rtbus .
#     docker run --network <that of Redis> -p 8080:8080 rtbus
#     docker run --network <that of Redis> rtbus producer --redis redis:6379
#
# It runs conf/demo.conf, changed to listen to the outside and to find Redis
# under the name "redis"; compose.yaml has all of it.  The demo's key is made
# with the image, and its passwords are public: for all but looking at it, a
# configuration of your own goes to /etc/nginx/nginx.conf.  One that has
# rtbus_health at /health on port 8080 keeps the health check.
#
# BASE may be another release of Debian, which has another nginx.

ARG BASE=debian:bookworm-slim


FROM $BASE AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev libhiredis-dev libjwt-dev libssl-dev libyajl-dev make \
        nginx-dev npm perl \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY . .

RUN make build /src/build/producer \
    && npm ci --omit=dev --no-audit --no-fund \
    && demo/keys build/demo 3650

# the libraries have other names in each release

RUN for library in hiredis jwt yajl; do \
        dpkg-query -S "*/lib$library.so.*" | cut -d: -f1; \
    done | sort -u > build/packages

RUN sed -e '1i daemon off;\npid /tmp/nginx.pid;\nerror_log stderr notice;' \
        -e 's|^load_module .*|load_module modules/ngx_http_rtbus_module.so;|' \
        -e 's|^http {|&\n    access_log /dev/stdout;\n    rtbus_drain 5s;\n|' \
        -e 's|redis://127\.0\.0\.1:|redis://redis:|' \
        -e 's|listen 127\.0\.0\.1:|listen |' \
        -e 's|root demo/page;|root /srv/rtbus/page;|' \
        -e 's|alias node_modules/socket.io-client/dist/|alias /srv/rtbus/|' \
        -e 's|alias conf/demo/tokens/|alias /etc/nginx/demo/tokens/|' \
        conf/demo.conf > build/nginx.conf


FROM $BASE

COPY --from=build /src/build/packages /tmp/

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        nginx-light $(cat /tmp/packages) \
    && rm -rf /var/lib/apt/lists/* /tmp/packages \
    && ln -sf /dev/stderr /var/log/nginx/error.log \
    && ln -sf /dev/stdout /var/log/nginx/access.log \
    && chown -R www-data:www-data /var/lib/nginx

COPY --from=build /src/build/ngx_http_rtbus_module.so /usr/lib/nginx/modules/
COPY --from=build /src/build/producer /usr/local/bin/
COPY --from=build /src/build/nginx.conf /etc/nginx/nginx.conf
COPY --from=build --chown=33:33 /src/build/demo /etc/nginx/demo
COPY conf/events.schema.json conf/rtbus.lua /etc/nginx/
COPY --from=build /src/node_modules/socket.io-client/dist/socket.io.min.js /srv/rtbus/
COPY demo/page /srv/rtbus/page

# www-data, by number for those who check that it is not root

USER 33:33

EXPOSE 8080

# the workers say goodbye to their clients, within 5 s (rtbus_drain)

STOPSIGNAL SIGQUIT

HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3; read -r -t 2 _ status _ <&3; [ \"$status\" = 200 ]"]

CMD ["nginx"]
