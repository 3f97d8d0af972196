<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Says more about a parameter of a tool than its type does.
 *
 *     function mail(#[Antenv\ToolParam('The addresses.', type: 'list<string>')] array $to): string { ... }
 */
#[\Attribute(\Attribute::TARGET_PARAMETER)]
final class ToolParam
{
    /**
     * @param string|null $description What the agent is told about it. Without it: the text of its `@param` tag.
     * @param string|null $type What it holds, in the words of a `@param` tag: `list<string>`, `array<string, int>`,
     *     `array{city: string, days?: int}`, `'celsius'|'fahrenheit'`, the name of an enum or class. Without it: the
     *     tag.
     */
    public function __construct(
        public readonly ?string $description = null,
        public readonly ?string $type = null,
    ) {
    }
}
