<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 499: the server saw the request abandoned.
 */
class ClientClosedRequest extends APIStatus
{
}
