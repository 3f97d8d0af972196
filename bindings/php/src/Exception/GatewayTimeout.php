<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 504: the service took too long behind its gateway.
 */
class GatewayTimeout extends InternalServer
{
}
