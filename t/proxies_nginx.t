#!/usr/bin/perl

# Another nginx in front of nginx.

###############################################################################

use warnings;
use strict;

use Test::More;

use Test::RTBus;
use Test::Nginx;
use Test::RTBus::Behind;
use Test::RTBus::Redis;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

Test::RTBus::Behind->suite('nginx',
	'Upgrade' => 'websocket upgrade',
	'proxy_http_version' => 'websocket upgrade',
	'Host' => 'origin',
	'X-Forwarded-For' => 'address');

###############################################################################
