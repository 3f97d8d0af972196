<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 422: the request is well-formed, but cannot be processed.
 */
class UnprocessableEntity extends APIStatus
{
}
