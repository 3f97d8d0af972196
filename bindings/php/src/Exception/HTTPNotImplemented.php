<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 501: the server has no such function.
 */
class HTTPNotImplemented extends InternalServer
{
}
