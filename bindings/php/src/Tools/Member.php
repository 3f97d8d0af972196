<?php

declare(strict_types=1);

namespace Antenv\Tools;

/**
 * A member of an object.
 *
 * @internal
 */
final class Member
{
    public function __construct(public readonly Shape $shape, public readonly bool $isRequired)
    {
    }
}
