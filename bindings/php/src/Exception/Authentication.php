<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 401: the credential is missing, wrong or expired.
 */
class Authentication extends APIStatus
{
}
