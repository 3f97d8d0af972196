<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 408: the server gave up waiting for the request.
 */
class RequestTimeout extends APIStatus
{
}
