#!/usr/bin/perl

# HAProxy in front of nginx.

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

Test::RTBus::Behind->suite('haproxy',
	'http-no-delay' => 'prompt',
	'forwardfor' => 'address');

###############################################################################
