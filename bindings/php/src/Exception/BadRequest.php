<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 400: the API refused the request.
 */
class BadRequest extends APIStatus
{
}
