<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The server reported success, but its response is not valid JSON, was cut short, is empty, or is too large.
 */
class APIResponseValidation extends API
{
}
