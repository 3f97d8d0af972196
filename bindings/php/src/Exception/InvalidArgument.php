<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * An argument of a call is invalid: `$parameter` names it. Nothing was sent.
 */
class InvalidArgument extends AntenvException
{
}
