<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 403: the credential may not do this.
 */
class PermissionDenied extends APIStatus
{
}
