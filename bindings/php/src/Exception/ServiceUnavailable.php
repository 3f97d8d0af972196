<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 503: the service is not available now.
 */
class ServiceUnavailable extends InternalServer
{
}
