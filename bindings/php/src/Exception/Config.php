<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * An argument of a client or worker is invalid, or no credential was found: `$parameter` names it.
 */
class Config extends AntenvException
{
}
